"""``python smoke.py VERSION [demo]``: what an installed aioflags has to do. Imports nothing of the checkout.

Without ``demo`` only the dependencies of the core are there. Raises or exits with a message at the first mistake.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.resources
import platform
import subprocess
import sys
from pathlib import Path

LIMIT = 60
"""Seconds for a command."""
PUBLIC = ("hooks", "migration", "mobile", "plugins", "sources", "stores", "testing", "testing.toxics", "asgi")
"""Public modules that need no extra."""
PAGES = ("page.html", "page.css", "page.js")


def main() -> None:
    """Check the installation, its files, an evaluation, and the command line."""
    version, extra = sys.argv[1], "demo" if "demo" in sys.argv[2:] else ""
    aioflags = importlib.import_module("aioflags")
    expect(Path(aioflags.__file__ or "").is_relative_to(sys.prefix), f"aioflags comes from {aioflags.__file__}")
    expect(aioflags.__version__ == version == importlib.metadata.version("aioflags"), f"the version is {aioflags.__version__}")
    expect(importlib.metadata.metadata("aioflags")["License-Expression"] == "Apache-2.0", "the licence is not in the metadata")
    for name in PUBLIC:
        importlib.import_module(f"aioflags.{name}")
    files = importlib.resources.files("aioflags")
    expect(files.joinpath("py.typed").is_file(), "py.typed is missing")
    pages = files.joinpath("devserver", "page_files")
    expect(all(pages.joinpath(name).is_file() for name in PAGES), "a file of the page is missing")
    expect(asyncio.run(evaluated()) is True, "Client.local has not evaluated the flag")
    if extra:
        commands()
    else:
        refused = command("--version", status=2)
        expect('pip install "aioflags[cli]"' in refused, f"without the extra, the command line printed {refused!r}")
    print(f"CPython {platform.python_version()}: aioflags {version} works")


async def evaluated() -> object:
    """The value of a flag, without a network."""
    aioflags = importlib.import_module("aioflags")
    async with aioflags.Client.local({"flagValues": {"new-checkout": True}}) as client:
        return await client.variation("new-checkout", aioflags.Context("anna"), default=False)


def commands() -> None:
    """The version, and the demo on the embedded server: real sockets on loopback."""
    shown = command("--version")
    expect(sys.argv[1] in shown, f"--version printed {shown!r}")
    shown = command("demo")
    expect("All of it happened" in shown, f"the demo printed\n{shown}")


def command(*arguments: str, status: int = 0) -> str:
    """What the installed script ``aioflags`` prints."""
    script = Path(sys.prefix, "bin", "aioflags")
    ran = subprocess.run([script, *arguments], capture_output=True, text=True, check=False, timeout=LIMIT)
    expect(ran.returncode == status, f"aioflags {' '.join(arguments)}: exit status {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout + ran.stderr


def expect(condition: object, problem: str) -> None:
    """End with ``problem`` unless ``condition`` holds; an ``assert`` may be switched off."""
    if not condition:
        sys.exit(problem)


if __name__ == "__main__":
    main()
