"""No test shows the SDK key or a private value, and the check for that detects each kind of leak."""

from __future__ import annotations

import asyncio
import functools
import gc
import gzip
import types
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from aioflags import BigSegments, Client, Config, Context, DataSystem, Events, Hook, Persistence
from aioflags.devserver import ServerState
from aioflags.hooks import EvaluationCall, TrackCall
from aioflags.migration import Migrator, Stage
from aioflags.model.detail import EvaluationDetail
from aioflags.otel import EventsHook, MetricsPlugin, TracingHook
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.sentry import SentryHook
from aioflags.sources import FileSource, MemorySource, Polling, Streaming
from aioflags.stores import DiskStore, RedisStore
from aioflags.testing import FlagChangeLog, MemoryClient
from tests.support.canaries import CANARIES, KEY, SECRET, Watch, secretive
from tests.support.scripted_http import Service, intent, payload, poll_of, sse, stream_of
from tests.support.scripted_memberships import ScriptedMemberships

ROOT = Path(__file__).parents[2]

# -- a test that shows a canary fails

LEAKS = """
    import contextlib, logging, sys, warnings
    import pytest
    from tests.support.canaries import KEY, SECRET

    log = logging.getLogger("aioflags")

    def test_without_a_canary():
        log.error("all is well")

    def test_a_line_of_a_log():
        log.error("refused: %s", KEY)

    def test_a_line_below_the_level_of_the_log():
        log.debug("asking as %s", KEY)

    def test_a_line_while_a_level_is_set(caplog):
        with caplog.at_level(logging.INFO, "aioflags"):
            log.info("asking as %s", KEY)

    def test_a_line_of_another_library():
        logging.getLogger("httpx").warning("GET /?key=%s", KEY)

    def test_an_argument_that_a_line_does_not_show():
        log.error("refused: %.3s", SECRET)

    def test_an_exception_in_a_log():
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("failed")

    def test_what_is_printed():
        print(KEY)

    def test_what_is_written_to_stderr():
        sys.stderr.write(SECRET)

    def test_a_warning():
        with pytest.raises(UserWarning):
            warnings.warn(KEY)

    def test_an_exception_that_is_caught():
        with pytest.raises(ValueError):
            raise ValueError(KEY)

    def test_the_cause_of_an_exception_that_is_caught():
        with pytest.raises(ValueError):
            raise ValueError from KeyError(KEY)

    def test_the_context_of_an_exception_that_is_caught():
        with pytest.raises(ValueError):
            try:
                raise KeyError(KEY)
            except KeyError:
                raise ValueError

    def test_a_member_of_a_group():
        with pytest.raises(ExceptionGroup):
            raise ExceptionGroup("both", [OSError(), ExceptionGroup("inside", [ValueError(SECRET)])])

    def test_a_note():
        with pytest.raises(ValueError):
            error = ValueError()
            error.add_note(KEY)
            raise error

    def test_a_file(tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "flags").write_bytes(b"\\xff" + KEY.encode())

    def test_the_name_of_a_file(tmp_path):
        (tmp_path / KEY).touch()

    @pytest.fixture
    def ended():
        yield
        log.error("ended: %s", KEY)

    def test_what_a_fixture_logs_at_its_end(ended):
        pass

    @pytest.mark.shows_canaries("it prints what the user typed")
    def test_with_a_reason():
        print(KEY)
"""
CLEAN = {"test_without_a_canary", "test_with_a_reason"}


def inner(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    """An inner run with the same watch."""
    pytester.makepyfile(code)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_subprocess("-p", "tests.support.canaries", "-q", "-rA", "--color=no")


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.holds("RB-R25")
@pytest.mark.shows_canaries("the inner tests fail because of it, and report it")
def test_each_sort_of_leak_fails_its_test(pytester: pytest.Pytester) -> None:
    ran = inner(pytester, LEAKS)
    ran.assert_outcomes(passed=LEAKS.count("def test_"), errors=LEAKS.count("def test_") - len(CLEAN))
    failed = {line.partition("::")[2].split()[0] for line in ran.outlines if line.startswith("ERROR test_")}
    assert not failed & CLEAN


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize("reason", ["", "()", "('')", "(3)"])
def test_the_marker_shows_canaries_needs_a_reason(pytester: pytest.Pytester, reason: str) -> None:
    ran = inner(pytester, f"import pytest\n@pytest.mark.shows_canaries{reason}\ndef test_it(): pass")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["*test_it: shows_canaries needs the reason"])


# -- requests

HEADERS = {"authorization": KEY, "user-agent": "test"}


def request(**given: Any) -> httpx.Request:
    return httpx.Request("POST", given.pop("url", "https://events.test/bulk"), headers=HEADERS | given.pop("headers", {}), **given)


@pytest.mark.parametrize(
    ("sent", "where"),
    [
        pytest.param(request(content=b"[]"), None, id="the key in its header"),
        pytest.param(request(url=f"https://a.test/{KEY}"), "address", id="in a path"),
        pytest.param(request(url=f"https://a.test/?key={KEY}"), "address", id="in a query"),
        pytest.param(request(headers={"x-launchdarkly-tags": KEY}), "headers", id="in another header"),
        pytest.param(request(headers={SECRET: "1"}), "headers", id="as a header's name"),
        pytest.param(request(content=f'[{{"email":"{SECRET}"}}]'.encode()), "body", id="in a body"),
        pytest.param(request(content=gzip.compress(SECRET.encode())), "body", id="in a compressed body"),
    ],
)
async def test_every_server_of_the_tests_checks_its_requests(sent: httpx.Request, where: str | None) -> None:
    scripted, app = Watch(), Watch()
    scripted.request(sent)

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app(answering))) as client:
        await client.send(sent)
    for seen in (scripted.end(), app.end()):
        assert [str(where) in each for each in seen] == ([] if where is None else [True])


@pytest.mark.parametrize(
    ("line", "where"),
    [
        pytest.param(f"Authorization: {KEY}", None, id="the key in its header"),
        pytest.param(f"X-Other: {KEY}", "headers", id="in another header"),
    ],
)
def test_the_head_that_a_bare_socket_receives_is_checked(line: str, where: str | None) -> None:
    watch = Watch()
    watch.head(f"GET /sdk/poll HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
    assert [where in each for each in watch.end() if where] == ([] if where is None else [True])


@pytest.mark.real_time
def test_all_data_that_stay_in_redis_are_checked(redis_url: str) -> None:
    watch = Watch()
    with redis.Redis.from_url(redis_url) as client:
        client.hset("flags", "a", KEY)
        client.sadd("people", SECRET)
        client.set("who", KEY)
        client.set(f"for {KEY}", "1")
        watch.redis(client)
        client.flushall()
    assert len(watch.end()) == 4


# -- reprs of objects


class KeepsArguments(Hook, Plugin):
    """Keeps everything that it receives."""

    name = "keeps"

    def __init__(self) -> None:
        self.met: list[object] = []

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self.met.append(series_context)
        return data

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self.met.append(detail)
        return data

    def after_track(self, series_context: TrackCall) -> None:
        self.met.append(series_context)

    def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
        self.met.append(environment)
        return [self]

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        pass


_HOLDERS = (
    *(dict, list, tuple, set, frozenset, deque, types.MappingProxyType, types.CellType, types.MethodType, functools.partial),
    *(asyncio.Task, types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType, types.FrameType),
)


def within(*roots: object) -> Iterator[object]:
    """Every object of the package that can be reached from these, themselves included; also from the frames of tasks."""
    left, met = list(roots), dict[int, object]()
    while left:
        found = left.pop()
        if id(found) in met:
            continue
        met[id(found)] = found
        if isinstance(found, types.FunctionType):
            left += found.__closure__ or ()
        elif type(found).__module__.partition(".")[0] in ("aioflags", "tests"):
            yield found
            left += gc.get_referents(found)
        elif isinstance(found, _HOLDERS):
            left += gc.get_referents(found)


class ShowsKey:
    def __repr__(self) -> str:
        return KEY


async def test_within_finds_objects_at_any_depth() -> None:
    leaking = ShowsKey()

    async def waiting(_: object) -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(waiting(functools.partial(print, {"a": [leaking]})))
    await asyncio.sleep(0)
    assert leaking in within(task)
    assert [*within([lambda: leaking])] == [leaking]
    task.cancel()


@pytest.mark.holds("RB-R25")
async def test_no_repr_shows_the_key_or_a_private_value(tmp_path: Path) -> None:
    service, keeps, user = Service(stream_of(sse(*payload("f"))), poll_of(intent("none"))), KeepsArguments(), secretive("anna")
    hooks: list[Hook] = [EventsHook(), TracingHook(), SentryHook()]
    config = Config(
        http=service.http(),
        events=Events(private_attributes=["email"]),
        data_system=DataSystem.custom(
            synchronizers=[Streaming(), Polling(), FileSource("flags.json")],
            persistence=Persistence(store=DiskStore(tmp_path / "flags"), mode="read_write"),
        ),
        big_segments=BigSegments(store=ScriptedMemberships()),
        hooks=hooks,
        plugins=[keeps, MetricsPlugin()],
    )
    async with Client(KEY, config) as client:

        async def both(_: object) -> int:
            return 1

        migrator: Migrator[None, int, int] = Migrator(client, read_old=both, read_new=both, write_old=both, write_new=both)
        _, tracker = await client.migration_variation("f", user, Stage.OFF)
        client.track("bought", user, {"price": 3})
        client.identify(user)
        found = list(
            within(
                *(client, config, keeps.met, migrator, tracker, user, Context.multi(user, Context("o", "org")), hooks),
                *(await client.flags(user), await client.all_flags_state(user), await client.explain("f", user)),
                *(asyncio.all_tasks(), client.report, client.stats, client.changes(), client.changes("f", user), Context("")),
                *(MemorySource(), Streaming(), FileSource("flags.json")),
                *(RedisStore(f"redis://user:{KEY}@localhost"), ServerState.of({}), MemoryClient(), FlagChangeLog()),
            )
        )
        shown = {type(each).__name__: repr(each) for each in found if any(canary in repr(each) for canary in CANARIES)}
        assert shown == {}
        names = {type(each).__name__ for each in found}
    assert names >= {
        *("Client", "Config", "Events", "Http", "DataSystem", "Context", "StatusReport", "Stats", "Flags", "FlagsState"),
        *("SdkKey", "SourceContext", "StoreContext", "EnvironmentMetadata", "EvaluationCall", "TrackCall", "EvaluationDetail"),
        *(
            "Recorder",
            "Outbox",
            "Sender",
            "HttpTransport",
            "StoreSession",
            "Supervisor",
            "BigSegmentLookup",
            "OpTracker",
            "Migrator",
        ),
    }
