"""``python -m tests.reliability FILE``: prints the results of a run; a full run is added to the totals.

The exit status is 1 if a line fails or all its tests were skipped, if a process of tests crashed, or if nothing was tried for a
line although no lines were chosen.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.reliability.results import Results
from tests.reliability.scoreboard import Form


def main(path: Path) -> int:
    """Prints the file; returns the exit status."""
    results = Results.read(path)
    print(results)
    if results.form is Form.FULL:
        results.add_to_totals()
    missing = [] if os.environ.get("AIOFLAGS_RELIABILITY_LINES") else results.missing()
    if missing:
        print(f"nothing was tried for {', '.join(missing)}")
    return 0 if results.holds and not missing else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
