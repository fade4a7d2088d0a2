"""Dialects: definitions that do not compile, exceptions in compiled flags, and evaluations with a short stack."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from typing import Any

import pytest

from aioflags.evaluation.answers import Tracking
from aioflags.evaluation.flags import compile_flag
from aioflags.evaluation.launchdarkly import LaunchDarklyDialect
from aioflags.evaluation.scope import CompiledFlag
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from tests.evaluation.data import change_set, changes, error, flag, outcome, segment, with_frames_left

K = Context("k")


def _buggy(definition: Any, note: Any) -> CompiledFlag:
    def evaluate(context: Any, scope: Any) -> Any:
        raise ZeroDivisionError("a bug")

    return CompiledFlag(definition.key, definition.version, evaluate)


def _unable(definition: Any, note: Any) -> Any:
    raise ZeroDivisionError("a bug")


def of_dialect(compile_flag: Any, compile_segment: Any, *flags: Any, segments: Any = ()) -> Snapshot:
    dialect = LaunchDarklyDialect(compile_flag, compile_segment)
    return Snapshot.empty(dialect=dialect).apply(change_set(*changes(flags, segments)))


def test_an_exception_in_an_evaluation_gives_the_default_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = of_dialect(_buggy, _unable, flag("a\nb"))
    with caplog.at_level(logging.DEBUG, "aioflags"):
        for _ in range(2):
            evaluation = snapshot.evaluate("a\nb", K, "default")
            assert outcome(evaluation) == ("default", None, error("EXCEPTION"))
            assert evaluation.flag is not None
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", "evaluating flag a\\nb failed")]
    assert "ZeroDivisionError: a bug" in caplog.text


def test_a_flag_that_does_not_compile_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    assert outcome(of_dialect(_unable, _unable, flag()).evaluate("flag", K, "default"))[2] == error("MALFORMED_FLAG")
    assert "does not compile: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("compiler", "properties"),
    [
        pytest.param(compile_flag, {}, id="on"),
        pytest.param(compile_flag, {"on": False}, id="off"),
        pytest.param(_unable, {}, id="a flag that does not compile"),
    ],
)
def test_the_tracking_of_a_flag_does_not_depend_on_its_state(compiler: Any, properties: Any) -> None:
    wishes: dict[str, Any] = {"trackEvents": True, "excludeFromSummaries": True, "debugEventsUntilDate": 5, "samplingRatio": 3}
    compiled = of_dialect(compiler, _unable, flag(**wishes, **properties, version=7)).compiled("flag")
    assert compiled is not None
    assert (compiled.key, compiled.version) == ("flag", 7)
    assert compiled.tracking == Tracking(is_counted=False, is_tracked=True, debug_until_ms=5, sampling_ratio=3)


def test_a_flag_that_needs_a_segment_that_does_not_compile_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    one = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    snapshot = of_dialect(compile_flag, _unable, one, segments=[segment()])
    assert outcome(snapshot.evaluate("flag", K, "default"))[2] == error("MALFORMED_FLAG")
    assert "needs segment 's', which does not compile" in caplog.text


def _endless(definition: Any, note: Any) -> CompiledFlag:
    def evaluate(context: Any, scope: Any) -> Any:
        return evaluate(context, scope)

    return CompiledFlag(definition.key, definition.version, evaluate)


def test_a_flag_that_fills_the_stack_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    """Also if its caller has used most of the stack: the recursion limit applies to both."""
    evaluation = of_dialect(_endless, _unable, flag()).evaluate("flag", K, "default")
    assert outcome(evaluation) == ("default", None, error("MALFORMED_FLAG"))
    assert caplog.messages == ["flag flag, version 1, depends on too many flags or segments in a row"]


@pytest.mark.parametrize(
    "clause",
    [
        pytest.param({"op": "in", "attribute": "key", "values": ["k"]}, id="a clause"),
        pytest.param({"op": "segmentMatch", "values": ["s"]}, id="a segment"),
        pytest.param({"op": "matches", "attribute": "key", "values": ["^(k|[l-n]+)$"]}, id="a pattern"),
    ],
)
def test_a_flag_works_after_an_evaluation_without_stack(clause: Any) -> None:
    """Compiled flags are kept, so they must not depend on the stack of the first caller."""
    rules = [{"clauses": [clause], "variation": 2}]
    flags = [flag(rules=rules, prerequisites=[{"key": "needed", "variation": 2}]), flag("needed", rules=rules)]
    data = change_set(*changes(flags, [segment(included=["k"])]))
    quiet = logging.getLogger("quiet.logger")
    quiet.setLevel(logging.CRITICAL)  # logging needs more of the stack than the evaluation
    for frames in range(2, 120):
        snapshot = Snapshot.empty(log=quiet).apply(data)
        re.purge()
        with contextlib.suppress(RecursionError):
            with_frames_left(frames, functools.partial(snapshot.evaluate, "flag", K, "default"))
        assert snapshot.evaluate("flag", K, "default").detail.value == "c", f"{frames} frames left"
