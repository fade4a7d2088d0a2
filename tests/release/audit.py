"""``python -m tests.release.audit FOLDER``: known vulnerabilities of what is installed in ``FOLDER``, by ``pip-audit``.

``pip-audit`` succeeds also if the service knows none of the packages, as behind a mirror that has no data on vulnerabilities.
Here a package that was not checked is a failure, and is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

OWN = "aioflags"
"""Not checked: the service cannot know a version that is not published yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was checked, and a sentence for each reason not to release."""

    checked: int
    problems: tuple[str, ...]


def main() -> None:
    """Run ``pip-audit``, and judge its report."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--path",
        sys.argv[1],
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "30",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    outcome = judge(ran.stdout, ran.stderr)
    print(f"pip-audit: {outcome.checked} packages checked")
    if outcome.problems:
        sys.exit("\n".join(outcome.problems))


def judge(report: str, errors: str) -> Outcome:
    """A report without a vulnerability is good only if each package but this one was checked."""
    try:
        dependencies = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (errors.strip().splitlines() or ["no report"])[-1]
        return Outcome(checked=0, problems=(f"the vulnerability service was not reachable, nothing was checked: {reason}",))
    checked = [entry for entry in dependencies if "vulns" in entry]
    skipped = sorted(entry["name"] for entry in dependencies if "vulns" not in entry and entry["name"] != OWN)
    problems = [
        f"{entry['name']} {entry['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for entry in checked
        for found in entry["vulns"]
    ]
    if not checked:
        problems.append(f"the vulnerability service was not reachable: none of {len(dependencies)} packages was checked")
    elif skipped:
        problems.append(f"not checked: {', '.join(skipped)}")
    return Outcome(checked=len(checked), problems=tuple(problems))


if __name__ == "__main__":
    main()
