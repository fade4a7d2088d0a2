"""When evaluations may take the fast path, and where they report there."""

from __future__ import annotations

from itertools import product

import pytest

from aioflags.client_core.answers import FastPath, fast_path, report_target
from aioflags.events.options import Events
from aioflags.events.recorder import DISABLED_RECORDER, Recorder

CONDITIONS = ("is_overridden", "is_offline", "has_defaults", "has_hooks", "reads_store", "warns_of_fork", "records_events")


@pytest.mark.parametrize(
    ("true", "path"),
    [
        pytest.param(set(), FastPath.UNREPORTED, id="nothing applies"),
        pytest.param({"records_events"}, FastPath.REPORTED, id="events are recorded"),
        pytest.param({"is_overridden"}, FastPath.DISABLED, id="tests override flags"),
        pytest.param({"is_offline"}, FastPath.DISABLED, id="the client is offline"),
        pytest.param({"has_defaults"}, FastPath.DISABLED, id="the configuration has defaults"),
        pytest.param({"has_hooks"}, FastPath.DISABLED, id="there are hooks"),
        pytest.param({"reads_store"}, FastPath.DISABLED, id="a store is read for each call"),
        pytest.param({"warns_of_fork"}, FastPath.DISABLED, id="the next evaluation is the first after a fork"),
        pytest.param({"has_hooks", "records_events"}, FastPath.DISABLED, id="hooks outrank events"),
    ],
)
def test_the_fast_path_is(true: set[str], path: FastPath) -> None:
    assert fast_path(**{name: name in true for name in CONDITIONS}) is path


def test_each_of_the_first_six_conditions_disables_the_fast_path_whatever_the_others_are() -> None:
    for values in product([False, True], repeat=len(CONDITIONS)):
        path = fast_path(**dict(zip(CONDITIONS, values, strict=True)))
        assert (path is FastPath.DISABLED) is any(values[:6])


def test_an_evaluation_reports_to() -> None:
    recorder = Recorder(Events())
    assert {path: report_target(path, recorder) for path in FastPath} == {
        FastPath.UNREPORTED: None,
        FastPath.REPORTED: recorder,
        FastPath.DISABLED: DISABLED_RECORDER,
    }
    assert not DISABLED_RECORDER.is_open
