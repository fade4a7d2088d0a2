"""The exceptions a caller may meet."""

from __future__ import annotations

import pytest

from aioflags.errors import ConfigError, FlagsError, LifecycleError, NotReadyError
from aioflags.model.status import ErrorInfo, FailureKind, SourceState, Status, StatusReport

WAITING = StatusReport(seq=1, status=Status.NOT_READY, source_state=SourceState.INITIALIZING, since=0.0, source_since=0.0)
REFUSED = StatusReport(
    seq=2,
    status=Status.FATAL,
    source_state=SourceState.OFF,
    since=0.0,
    source_since=0.0,
    last_error=ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="401: is the SDK key right?", time=0.0, status_code=401),
)


@pytest.mark.parametrize(
    ("error", "also"),
    [
        pytest.param(ConfigError("poll_interval is a number"), ValueError, id="a wrong option is a ValueError"),
        pytest.param(LifecycleError("closed"), RuntimeError, id="a call at the wrong time is a RuntimeError"),
        pytest.param(NotReadyError("no flag data after 5 s", WAITING), TimeoutError, id="no data in time is a TimeoutError"),
    ],
)
def test_each_error_is_also_the_matching_builtin_exception(error: Exception, also: type[Exception]) -> None:
    assert isinstance(error, FlagsError)
    assert isinstance(error, also)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        pytest.param(WAITING, "no flag data: status NOT_READY, source INITIALIZING", id="nothing went wrong yet"),
        pytest.param(REFUSED, "no flag data: status FATAL, source OFF: 401: is the SDK key right?", id="with the last failure"),
    ],
)
def test_not_ready_error_shows_the_status_and_the_last_error(report: StatusReport, message: str) -> None:
    error = NotReadyError("no flag data", report)
    assert str(error) == message
    assert error.report is report
