"""The score of mutants, read from the files that mutmut writes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.meta.mutants import Score, modules, score_of

# 1: a test failed; 36: it took too long; 0: none failed; 33: there was none; None: not tried.
ENDS = {"a": 1, "b": 36, "c": 0, "d": 33, "e": None, "f": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of mutmut: one for each module, also for those without mutants."""
    for name, ends in (("events/summary", ENDS), ("supervisor/policy", {})):
        path = tmp_path / "aioflags" / f"{name}.py.meta"
        path.parent.mkdir(parents=True)
        path.write_bytes(msgspec.json.encode({"exit_code_by_key": ends, "more": 1}))
    return tmp_path


def test_a_mutant_that_no_test_reaches_has_survived() -> None:
    score = score_of(ENDS)
    assert score == Score(killed=2, timed_out=1, survived=2, untried=1)
    assert (score.tried, score.share) == (5, 60.0)
    assert (score + score).row("all") == "| all | 12 | 4 | 2 | 4 | 2 | 60.0 % |"


def test_the_share_is_100_percent_if_no_mutant_was_tried() -> None:
    assert Score(untried=3).share == 100


def test_modules_without_mutants_are_left_out(folder: Path) -> None:
    assert [(module.name, module.ends()) for module in modules(folder)] == [("events/summary.py", ENDS)]


def test_survivors_are_found_by_name_and_may_be_noticed_after_all(folder: Path) -> None:
    (module,) = modules(folder)
    assert module.survivors("*") == ["c", "d"]
    module.kill("c")
    assert module.survivors("[a-c]") == []
    assert module.ends() == {**ENDS, "c": 1}
    assert msgspec.json.decode(module.path.read_bytes())["more"] == 1
