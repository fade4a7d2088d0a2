"""Logs: text from outside, errors in one line, and the reprs of options."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import ErrorInfo, ErrorKind, EvaluationDetail, Reason, ReasonKind, SourceState, Status, StatusReport
from aioflags.runtime.logs import Once, as_seconds, class_name, describe_error, display_name, logger, printable
from aioflags.sources import FailureKind


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("flag-é ユーザー", "flag-é ユーザー", id="printable text is unchanged"),
        pytest.param("a\nERROR forged", "a\\nERROR forged", id="a line break"),
        pytest.param("a\x1b[31m", "a\\x1b[31m", id="a colour of the terminal"),
        pytest.param("a\u202eb", "a\\u202eb", id="a change of the text direction"),
        pytest.param("a\u2028b", "a\\u2028b", id="a line separator"),
        pytest.param("x" * 201, "x" * 200 + "…", id="too long"),
        pytest.param("x" * 200, "x" * 200, id="the maximal length"),
        pytest.param(None, "None", id="an object that is not text"),
    ],
)
def test_text_from_outside_fits_one_line(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_unprintable_characters_are_escaped(text: str) -> None:
    assert printable(text).isprintable()


class _Named:
    def __init__(self, name: object) -> None:
        self._name = name

    @property
    def name(self) -> object:
        if isinstance(self._name, BaseException):
            raise self._name
        return self._name


class _StrRaises:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        pytest.param(_Named("metrics"), "metrics", id="an object with a name"),
        pytest.param(_Named("a\nb"), "a\\nb", id="a name with a line break"),
        pytest.param(_Named(ValueError()), "_Named", id="a name that cannot be read"),
        pytest.param(_Named(_StrRaises()), "_Named", id="a name that cannot be shown"),
        pytest.param(object(), "object", id="an object without a name"),
    ],
)
def test_every_object_has_a_name_for_the_log(thing: object, shown: str) -> None:
    assert display_name(thing) == shown


def test_a_key_is_reported_once_until_it_is_forgotten() -> None:
    once = Once()
    assert [once("a"), once("a"), once("b")] == [True, False, True]
    once.forget("a")
    once.forget("never reported")
    assert [once("a"), once("b")] == [True, False]


def test_the_number_of_keys_is_limited() -> None:
    once = Once(capacity=2)
    assert [once(thing) for thing in ("a", "b", "c", "c")] == [True, True, False, False]


class _MeetingPoint:
    """Each step of a set or dictionary with it waits until two threads take that step."""

    def __init__(self) -> None:
        self._both = threading.Barrier(2, timeout=30)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        self._both.wait()
        return 1


def test_one_of_two_threads_reports_a_key_that_both_meet_at_once() -> None:
    once, key = Once(), _MeetingPoint()
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(once, [key, key])) == [False, True]


def test_the_package_has_a_logger_without_handlers() -> None:
    assert (logger.name, logger.handlers, logger.propagate) == ("aioflags", [], True)


PROGRAM = """
import asyncio, logging, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from aioflags import Client, Config, Context

class Refusal(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.end_headers()
    do_POST = do_GET
    def log_message(self, *_):
        pass

async def main(url):
    async with Client("sdk-wrong", Config(base_uri=url, stream_uri=url, events_uri=url)) as client:
        print(await client.variation("f", Context("u"), "the default"))

if sys.argv[1:]:
    logging.basicConfig(level=sys.argv[1], format="%(levelname)s:%(name)s")
with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    logging.getLogger("aioflags").info("an INFO line")
    asyncio.run(main(f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
"""


def stderr_of_a_program_with_a_wrong_key(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=150, env=environment
    )
    assert run.stdout == "the default\n"
    return run.stderr


@pytest.mark.real_time
def test_a_wrong_key_is_printed_where_nothing_configures_logging() -> None:
    stderr = stderr_of_a_program_with_a_wrong_key()
    assert "401" in stderr
    assert "the key is probably invalid" in stderr
    assert "sdk-wrong" not in stderr
    assert "INFO" not in stderr


@pytest.mark.slow
@pytest.mark.real_time
def test_a_program_that_configures_logging_decides_what_is_printed() -> None:
    lines = stderr_of_a_program_with_a_wrong_key("INFO").splitlines()
    assert {"INFO:aioflags", "ERROR:aioflags"} <= set(lines)
    assert stderr_of_a_program_with_a_wrong_key("CRITICAL") == ""


class StrRaisesError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(OSError("gone\n"), "OSError: gone\\n", id="with a message"),
        pytest.param(OSError(), "OSError", id="without a message"),
        pytest.param(StrRaisesError(), "StrRaisesError", id="with a message that raises"),
        pytest.param(ExceptionGroup("two", [ExceptionGroup("one", [OSError("down")])]), "OSError: down", id="a group"),
    ],
)
def test_an_exception_is_described_in_one_line(error: Exception, line: str) -> None:
    assert describe_error(error) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (0.0123, "0.0123 s"), (12.34, "12.3 s"), (999.4, "999 s"), (999.6, "1000 s"), (3456.7, "3457 s")],
)
def test_a_duration_reads(seconds: float, text: str) -> None:
    assert as_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        pytest.param(True, "bool", id="a builtin type"),
        pytest.param(type("bool", (), {"__module__": "numpy"})(), "numpy.bool", id="a type of a module"),
        pytest.param(Once(), "aioflags.runtime.logs.Once", id="a type of this package"),
        pytest.param(type("lost", (), {"__module__": None})(), "None.lost", id="a type without a module"),
    ],
)
def test_messages_name_a_type_with_its_module(value: object, name: str) -> None:
    assert class_name(value) == name


# -- the repr of frozen values shows what is set, as an expression for an equal value


ERROR = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="it's down", time=1.5)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(Reason(kind=ReasonKind.OFF), "Reason(kind='OFF')", id="the kind of a reason"),
        pytest.param(
            Reason(kind=ReasonKind.RULE_MATCH, rule_index=0, rule_id="r", in_experiment=True),
            "Reason(kind='RULE_MATCH', rule_index=0, rule_id='r', in_experiment=True)",
            id="rule 0, which is not a default",
        ),
        pytest.param(
            EvaluationDetail(None, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.FLAG_NOT_FOUND)),
            "EvaluationDetail(value=None, variation_index=None, reason=Reason(kind='ERROR', error_kind='FLAG_NOT_FOUND'))",
            id="what is required is shown, None included",
        ),
        pytest.param(
            EvaluationDetail({"a": ["b"]}, 1, Reason(kind=ReasonKind.FALLTHROUGH)),
            "EvaluationDetail(value={'a': ['b']}, variation_index=1, reason=Reason(kind='FALLTHROUGH'))",
            id="a value of JSON",
        ),
    ],
)
def test_a_repr_shows_what_is_set(value: object, shown: str) -> None:
    assert repr(value) == shown
    assert eval(shown) == value


AT = "<1970-01-01T00:00:01Z>"
VALID = StatusReport(seq=1, status=Status.READY, source_state=SourceState.VALID, since=12.5, source_since=1.0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(
            ERROR, f"ErrorInfo(kind='NETWORK_ERROR', message=\"it's down\", time={AT})", id="an error without a status code"
        ),
        pytest.param(
            VALID,
            f"StatusReport(seq=1, status='READY', source_state='VALID', since=<loop time 12.5>, source_since={AT})",
            id="a status without an error",
        ),
        pytest.param(
            replace(VALID, status=Status.ERROR, source_state=SourceState.OFF, last_error=ERROR, next_attempt=1.0),
            f"StatusReport(seq=1, status='ERROR', source_state='OFF', since=<loop time 12.5>, source_since={AT}, "
            f"last_error={ERROR!r}, next_attempt={AT})",
            id="a status with its error",
        ),
        pytest.param(
            replace(VALID, since=float("inf"), source_since=1e300),
            "StatusReport(seq=1, status='READY', source_state='VALID', since=<loop time inf>, source_since=1e+300)",
            id="numbers that are not times",
        ),
    ],
)
def test_a_repr_shows_times_in_a_form_for_people(value: object, shown: str) -> None:
    assert repr(value) == shown
