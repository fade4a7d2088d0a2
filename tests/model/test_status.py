"""The status derived from a source state: ``data-system.md`` 5.8, ``openfeature.md`` 4.12."""

from __future__ import annotations

import pytest

from aioflags.model.source_state import SourceState
from aioflags.model.status import Status, derive


@pytest.mark.parametrize(
    ("source_state", "has_data", "start_limit_passed", "status"),
    [
        pytest.param(SourceState.INITIALIZING, False, False, Status.NOT_READY, id="starting"),
        pytest.param(SourceState.INITIALIZING, False, True, Status.ERROR, id="starting for too long"),
        pytest.param(SourceState.INITIALIZING, True, False, Status.STALE, id="starting, with unconfirmed data"),
        pytest.param(SourceState.INITIALIZING, True, True, Status.STALE, id="starting for too long, with such data"),
        pytest.param(SourceState.VALID, True, False, Status.READY, id="data"),
        pytest.param(SourceState.VALID, True, True, Status.READY, id="data that came late"),
        pytest.param(SourceState.VALID, False, False, Status.READY, id="validly empty"),
        pytest.param(SourceState.VALID, False, True, Status.READY, id="validly empty, late"),
        pytest.param(SourceState.INTERRUPTED, False, False, Status.NOT_READY, id="trouble before any data"),
        pytest.param(SourceState.INTERRUPTED, False, True, Status.ERROR, id="trouble before any data, for too long"),
        pytest.param(SourceState.INTERRUPTED, True, False, Status.STALE, id="trouble, with data"),
        pytest.param(SourceState.INTERRUPTED, True, True, Status.STALE, id="grace does not end"),
        pytest.param(SourceState.OFF, True, False, Status.ERROR, id="nothing left to run, with data"),
        pytest.param(SourceState.OFF, True, True, Status.ERROR, id="nothing left to run, with data, late"),
        pytest.param(SourceState.OFF, False, False, Status.FATAL, id="nothing left to run, and no data"),
        pytest.param(SourceState.OFF, False, True, Status.FATAL, id="nothing left to run, and no data, late"),
    ],
)
def test_a_status_is_derived_from_the_source_state(
    source_state: SourceState, has_data: bool, start_limit_passed: bool, status: Status
) -> None:
    assert derive(source_state, has_data=has_data, start_limit_passed=start_limit_passed) is status
