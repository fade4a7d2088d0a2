"""``python -m tests.release.installed WHEEL INTERPRETER…``: the wheel in fresh environments outside of the checkout.

Each interpreter gets the wheel without extras first, then with the extra ``demo``, and runs ``smoke.py`` for each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMOKE = Path(__file__).with_name("smoke.py")
LIMIT = 300
"""Seconds for each command: an installation may wait for the network."""


def main() -> None:
    """Try the wheel on each interpreter; the first that fails ends the run."""
    wheel, *interpreters = (Path(argument).absolute() for argument in sys.argv[1:])
    for interpreter in interpreters:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            shown = try_wheel(wheel, interpreter, Path(folder))
        print(f"{interpreter}: {shown}, {time.monotonic() - began:.0f} s", flush=True)


def try_wheel(wheel: Path, interpreter: Path, folder: Path) -> str:
    """Install and run. Returns the last line of the smoke test; ends the program with the output of what failed."""
    shutil.copy(SMOKE, folder)
    python = folder / "environment" / "bin" / "python"
    _run([interpreter, "-m", "venv", "--without-pip", folder / "environment"], folder)
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    install: list[str | Path] = (
        [uv, "pip", "install", "--python", python] if uv else [sys.executable, "-m", "pip", "--python", python, "install"]
    )
    shown = ""
    for extra in ("", "demo"):
        _run([*install, "-q", f"aioflags[{extra}] @ {wheel.as_uri()}" if extra else wheel], folder)
        shown = _run([python, "-I", "-W", "error", "smoke.py", wheel.name.split("-")[1], extra], folder)
    return shown.strip().splitlines()[-1]


def _run(command: list[str | Path], folder: Path) -> str:
    """Outside of the checkout, without variables that would bring it back."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}}
    ran = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    if ran.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


if __name__ == "__main__":
    main()
