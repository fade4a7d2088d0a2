"""``python -m tests.reliability.fuzz TARGET [--seconds N]`` looks for inputs that break a target. Without a target it lists them.

It is guided by coverage if atheris is installed (``nox -s fuzz`` does that), and by chance otherwise. An input that fails is in
``.fuzz/TARGET/findings``: add it to ``corpus/TARGET.txt``, where each test run replays it, and write a test beside the code that it
breaks. ``--input FILE`` runs one input again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import sys
from pathlib import Path

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def instrumented() -> contextlib.AbstractContextManager[object]:
    """Inside the block, modules are imported with coverage, if atheris is there."""
    if not HAS_ATHERIS:
        return contextlib.nullcontext()
    atheris = importlib.import_module("atheris")
    block: contextlib.AbstractContextManager[object] = atheris.instrument_imports(include=["aioflags"])
    return block


with instrumented():
    from tests.reliability.fuzz.corpus import seeds
    from tests.reliability.fuzz.engine import fuzz_by_chance, fuzz_by_coverage
    from tests.reliability.fuzz.targets import TARGETS, check

SLOWNESS = 10
"""How much slower instrumented code may be. The replay in the tests has the real bar."""


def main() -> int:
    """Returns the exit status: 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz")
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path, help="run this input alone")
    options = parser.parse_args()
    logging.disable()
    if options.target is None:
        print("\n".join(TARGETS))
        return 0
    target = TARGETS[options.target]
    if options.input is not None:
        check(target, options.input.read_bytes())
        return 0
    folder = Path(".fuzz", options.target)
    corpus, findings = folder / "corpus", folder / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    start = seeds(options.target)

    def run(data: bytes) -> None:
        check(target, data, slowness=SLOWNESS)

    if HAS_ATHERIS:
        for number, data in enumerate(start):
            (corpus / f"seed-{number}").write_bytes(data)
        fuzz_by_coverage(run, corpus, findings, options.seconds, is_json=target.is_json, words=target.dictionary)
    else:
        print("atheris is not installed: by chance alone")
        count = fuzz_by_chance(run, start, findings, options.seconds, is_json=target.is_json, words=target.dictionary)
        print(f"{count} inputs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
