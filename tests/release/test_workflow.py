"""The release workflow gives each job the least it needs, and runs only what is pinned and checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
WORKFLOW: dict[str, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def commands(job: str) -> str:
    return "\n".join(step["run"] for step in JOBS[job]["steps"] if "run" in step)


@pytest.mark.parametrize(
    ("job", "permissions"),
    [
        ("test", {"contents": "read"}),
        ("build", {"contents": "read"}),
        ("publish", {"id-token": "write"}),
        ("site", {"id-token": "write", "pages": "write"}),
    ],
)
def test_a_job_may_do_no_more_than(job: str, permissions: dict[str, str]) -> None:
    assert WORKFLOW["permissions"] == {}
    assert JOBS[job]["permissions"] == permissions


def test_each_action_is_pinned_by_a_commit_with_its_version_beside_it() -> None:
    actions = re.findall(r"uses: (.*)", TEXT)
    assert actions
    assert [action for action in actions if re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) is None] == []


def test_no_secret_is_used() -> None:
    assert "secrets." not in TEXT
    assert "password" not in TEXT


def test_jobs_that_publish_run_no_code_of_the_checkout() -> None:
    for job in ("publish", "site"):
        assert [step for step in JOBS[job]["steps"] if "run" in step or "checkout" in step["uses"]] == []
        assert JOBS[job]["environment"]


def test_nothing_is_published_before_all_checks_have_passed() -> None:
    assert set(JOBS["publish"]["needs"]) == {"test", "build"}
    assert JOBS["site"]["needs"] == "publish"
    assert not [job for job in JOBS.values() if "if" in job or "continue-on-error" in job]


def test_the_sessions_that_it_runs_exist() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = " ".join(re.findall(r"nox -s ([a-z -]+?)(?: --| #|$)", commands("build"), re.MULTILINE)).split()
    assert set(sessions) == {"release", "workflows", "api", "docs", "supply-chain", "build"}
    assert [name for name in sessions if f'name="{name}"' not in noxfile and f"\ndef {name}(" not in noxfile] == []
    assert commands("test") == ".ci/run"
