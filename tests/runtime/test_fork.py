"""A fork: the parent finishes what it began, the child starts with reset state, and no lock is held in the child."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from aioflags import Client, Config, DataSystem, Events, FlagdClient, Hook
from aioflags.hooks import EvaluationCall, TrackCall
from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.protocol.definitions import Versions
from aioflags.runtime.fork import Lock, reset_after_fork
from aioflags.sources import MemorySource
from aioflags.stores import RedisStore
from aioflags.testing import MemoryClient
from tests.support.canaries import KEY, secretive
from tests.support.events import records
from tests.support.scripted_http import HANG, Answer, Service, payload, poll_of

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

USER = secretive("anna")


def test_a_lock_is_reentrant() -> None:
    """A signal handler may evaluate a flag while its thread holds the lock."""
    lock, handled = Lock(), list[int]()

    def handle(number: int, _frame: object) -> None:
        with lock:
            handled.append(number)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


def in_child(check: Callable[[], None]) -> None:
    """Run ``check`` in a child of this process, for at most two minutes, and fail if it fails."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001 -- two processes must not go on with one test
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended) == 0


def in_loop_of_child(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in a child. The event loop of the parent is blocked until it ends."""

    def run() -> None:
        asyncio.events._set_running_loop(None)
        asyncio.new_event_loop().run_until_complete(check())

    in_child(run)


@pytest.mark.slow
def test_a_lock_that_another_thread_holds_is_free_in_the_child() -> None:
    lock, held, done = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    def take() -> None:
        with lock:
            pass

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        in_child(take)
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
def test_versions_that_another_thread_counts_can_be_counted_in_the_child() -> None:
    versions, held, done = Versions(), threading.Event(), threading.Event()

    def hold() -> Iterator[Change]:
        held.set()
        done.wait()
        yield from ()

    def count(changes: Any = ()) -> None:
        versions.counted(ChangeSet(kind=ChangeKind.FULL, changes=changes))

    thread = threading.Thread(target=count, args=[hold()])
    thread.start()
    held.wait()
    try:
        in_child(count)
    finally:
        done.set()
        thread.join()


class Failing:
    """An object whose reset fails."""

    def after_fork(self) -> None:
        raise OSError("no socket here")


def test_a_reset_that_fails_in_the_child_does_not_prevent_the_others(caplog: pytest.LogCaptureFixture) -> None:
    things: list[Failing | Lock] = [kind() for _ in range(20) for kind in (Lock, Failing)]
    locks = [thing for thing in things if isinstance(thing, Lock)]
    for thing in things:
        if isinstance(thing, Lock):
            thing.__enter__()
        else:
            reset_after_fork(thing)

    def child() -> None:
        for lock in locks:
            with lock:
                pass
        assert [(record.levelname, record.args) for record in caplog.records] == [("ERROR", ("Failing.after_fork",))] * 20

    in_child(child)


async def test_in_the_child_an_evaluation_takes_the_fast_path_without_events() -> None:
    service = Service(Answer(202))
    async with client_with_events(service) as client:
        assert client.variation_nowait("f", USER, 0) == 1
        assert client._core.report_to is not None

        def child() -> None:
            assert client.variation_nowait("f", USER, 0) == 1
            assert client._core.report_to is None

        in_child(child)
        assert client._core.report_to is not None


FORKED = "this process was forked after the client was started: {}; start it in each process after the fork"
FLAGS_STAY = FORKED.format(
    "flags keep their values of the fork and nothing is recorded until the client is started in this process, too"
)


def calls_of(client: Client) -> None:
    """Every call that a forked worker may make first, several times."""
    for _ in range(2):
        assert client.variation_nowait("f", USER, 0) == 1
        assert client.variation_detail_nowait("f", USER, 0).value == 1
        assert client.flags_nowait(USER).variation("f", 0) == 1
        assert client.flags_nowait(USER).all() == {"f": 1}
        client.track("bought", USER)
        client.identify(USER)


FIRST_CALLS: Mapping[str, Callable[[Client], object]] = {
    "variation_nowait": lambda client: client.variation_nowait("f", USER, 0),
    "variation_detail_nowait": lambda client: client.variation_detail_nowait("f", USER, 0),
    "a variation of pinned flags": lambda client: client.flags_nowait(USER).variation("f", 0),
    "all values of pinned flags": lambda client: client.flags_nowait(USER).all(),
    "track": lambda client: client.track("bought", USER),
    "identify": lambda client: client.identify(USER),
    "an unknown flag": lambda client: client.variation_nowait("unknown", USER, 0),
    "flush": lambda client: client.flush(),
}


@pytest.mark.parametrize("first_call", FIRST_CALLS.values(), ids=FIRST_CALLS)
async def test_the_first_use_in_the_child_logs_one_warning(
    first_call: Callable[[Client], object], caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with_events(Service(Answer(202))) as client:

        def child() -> None:
            caplog.clear()
            for call in (first_call, calls_of):
                call(client)
                assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [FLAGS_STAY]

        in_child(child)
        calls_of(client)
    assert FLAGS_STAY not in caplog.messages


async def test_a_flush_that_waits_in_the_child_logs_the_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(Service(Answer(202))) as client:

        async def child() -> None:
            caplog.clear()
            assert await client.flush_and_wait(5)
            assert caplog.messages == [FLAGS_STAY]

        in_loop_of_child(child)


FLAGD_DOCUMENT = {"flags": {"f": {"state": "ENABLED", "variants": {"one": 1}, "defaultVariant": "one"}}}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Client.local({"flagValues": {"f": 1}}), id="Client"),
        pytest.param(lambda: FlagdClient.local(FLAGD_DOCUMENT), id="FlagdClient"),
    ],
)
async def test_without_events_the_first_use_logs_one_warning_in_each_child(
    make: Callable[[], Client | FlagdClient], caplog: pytest.LogCaptureFixture
) -> None:
    async with make() as client:
        assert client._core.report_to is None

        def first_use() -> None:
            caplog.clear()
            for _ in range(2):
                assert client.variation_nowait("f", USER, 0) == 1
                assert client._core.report_to is None
            assert caplog.messages == [FLAGS_STAY]

        def child() -> None:
            first_use()
            in_child(first_use)

        in_child(child)
    assert FLAGS_STAY not in caplog.messages


async def test_a_client_that_is_started_in_the_child_or_was_closed_before_the_fork_logs_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, made, closed = (Client.local({"flagValues": {"f": 1}}) for _ in range(3))
    in_memory = MemoryClient({"flagValues": {"f": 0}})
    await client.start()
    await in_memory.start()
    async with closed:
        pass

    async def child() -> None:
        await client.start()
        for each in (client, closed):
            assert await each.variation("f", USER, 0) == 1
            assert each._core.report_to is None
        assert await made.variation("f", USER, 0) == 1
        in_memory.set("f", 1)
        assert in_memory.variation_nowait("f", USER, 0) == 1
        await client.aclose()
        assert FLAGS_STAY not in caplog.messages

    in_loop_of_child(child)
    await in_memory.aclose()
    await client.aclose()


@pytest.mark.slow
def test_the_tasks_of_the_parent_do_not_run_in_the_child() -> None:
    loops = [asyncio.new_event_loop()]
    client = Client.local({"flagValues": {"f": 1}})
    loops[0].run_until_complete(client.start())

    def child() -> None:
        async def start_anew() -> None:
            await client.start()
            gc.collect()
            assert client.status == "READY"

        loops.clear()
        gc.collect()
        assert client.status == "NOT_READY"
        asyncio.new_event_loop().run_until_complete(start_anew())

    in_child(child)
    loops[0].run_until_complete(client.aclose())
    loops[0].close()


@pytest.mark.slow
@pytest.mark.parametrize("waiting", [1, 3], ids=["one start", "several starts"])
async def test_a_client_that_was_reading_its_file_at_the_fork_reads_it_again_in_the_child(waiting: int, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flagValues": {"f": 2}}', encoding="utf-8")
    released = threading.Event()
    busy = ThreadPoolExecutor(1)  # this thread decodes the file when it is free
    busy.submit(released.wait)
    asyncio.get_running_loop().set_default_executor(busy)
    client = Client.local(path)
    starts = [asyncio.create_task(client.start()) for _ in range(waiting)]
    await asyncio.sleep(0.1)
    assert not any(start.done() for start in starts)

    async def child() -> None:
        path.write_text('{"flagValues": {"f": 1}}', encoding="utf-8")
        async with asyncio.timeout(5):
            await asyncio.gather(client.start(), client.start())
        assert await client.variation("f", USER, 0) == 1
        await client.aclose()

    try:
        in_loop_of_child(child)
    finally:
        released.set()
    await asyncio.gather(*starts)
    assert await client.variation("f", USER, 0) == 2
    await client.aclose()


# -- events


@asynccontextmanager
async def client_with_events(service: Service, **options: Any) -> AsyncGenerator[Client, None]:
    """A client with a flag, which sends its events only when it is flushed."""
    system = DataSystem.custom(synchronizers=[MemorySource.from_document({"flagValues": {"f": 1}})])
    events = Events(flush_interval=86_400, diagnostic_opt_out=True)
    async with Client(KEY, Config(http=service.http(), data_system=system, events=events, **options)) as client:
        yield client


def tracked(service: Service) -> list[str]:
    """The names of the events that arrived."""
    return [record["key"] for post in service.posts for record in records(post) if record["kind"] == "custom"]


@pytest.mark.slow
async def test_parent_and_child_each_send_the_events_that_they_recorded() -> None:
    service = Service()
    async with client_with_events(service) as client:
        client.track("the parent's", USER)

        async def child() -> None:
            assert client.stats.events_recorded == 0
            client.track("before the start", USER)
            assert await client.flush_and_wait(5)
            await client.start()
            client.track("the child's", USER)
            assert await client.flush_and_wait(5)
            assert tracked(service) == ["the child's"]
            await client.aclose()
            assert (client.stats.events_recorded, client.stats.events_sent) == (2, 2)

        in_loop_of_child(child)
        assert await client.flush_and_wait(5)
    assert tracked(service) == ["the parent's"]


@pytest.mark.slow
async def test_all_requests_of_the_child_have_another_instance_id() -> None:
    service = Service(poll_of(*payload("f")))
    config = Config(http=service.http(), data_system=DataSystem.polling())

    def ids() -> set[str]:
        return {request.headers["X-LaunchDarkly-Instance-Id"] for request in (*service.requests, *service.posts)}

    async with Client(KEY, config) as client:
        client.track("x", USER)
        assert await client.flush_and_wait(5)
        parents = ids()

        async def child() -> None:
            service.requests, service.posts = [], []
            await client.start()
            client.track("x", USER)
            assert await client.flush_and_wait(5)
            assert {request.url.path for request in (*service.requests, *service.posts)} >= {"/sdk/poll", "/bulk"}
            assert len(ids()) == 1
            assert ids().isdisjoint(parents)
            await client.aclose()

        in_loop_of_child(child)
        await client.refresh()
        client.track("x", USER)
        assert await client.flush_and_wait(5)
        assert ids() == parents
        assert len(parents) == 1


@pytest.mark.slow
async def test_a_request_of_the_parent_does_not_delay_the_child() -> None:
    service = Service()
    service.takes = [*[Answer(202, after=HANG)] * 5, Answer(202)]
    async with client_with_events(service, close_timeout=0.2) as client:
        for number in range(5):
            client.track(str(number), USER)
            assert not await client.flush_and_wait(0.05)
        assert len(service.posts) == 5

        async def child() -> None:
            assert await client.flush_and_wait(1)
            await client.start()
            client.track("the child's", USER)
            assert await client.flush_and_wait(1)
            assert tracked(service)[5:] == ["the child's"]
            await client.aclose()

        in_loop_of_child(child)


# -- hooks and plugins


class RecordingPlugin(Hook, Plugin):
    """Records its calls. ``after_track`` waits for ``go``."""

    name = "recording"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go = asyncio.Event()

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self.calls.append(f"before {series_context.key}")
        return data

    async def after_track(self, series_context: TrackCall) -> None:
        await self.go.wait()
        self.calls.append(f"after {series_context.key}")

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        self.calls.append("get_hooks")
        return [self]

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        self.calls.append("register")


@pytest.mark.slow
async def test_plugins_are_registered_again_in_the_child_and_their_hooks_run_once() -> None:
    recording = RecordingPlugin()
    async with client_with_events(Service(), plugins=[recording]) as client:
        assert recording.calls == ["get_hooks", "register"]

        async def child() -> None:
            recording.calls.clear()
            assert client.variation_nowait("f", USER, 0) == 1
            assert recording.calls == ["before f"]
            await client.start()
            assert recording.calls == ["before f", "register"]
            assert await client.variation("f", USER, 0) == 1
            assert recording.calls == ["before f", "register", "before f"]
            await client.aclose()

        in_loop_of_child(child)
        assert recording.calls == ["get_hooks", "register"]


async def test_pending_hook_calls_of_the_parent_do_not_run_in_the_child() -> None:
    recording = RecordingPlugin()
    async with client_with_events(Service(), hooks=[recording]) as client:
        client.track("the parent's", USER)

        async def child() -> None:
            recording.go = asyncio.Event()
            recording.go.set()
            await client.start()
            client.track("the child's", USER)
            await client.aclose()
            assert recording.calls == ["after the child's"]

        in_loop_of_child(child)
        recording.go.set()
    assert recording.calls == ["after the parent's"]


# -- stores


async def test_parent_and_child_have_separate_connections_to_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as seeing:

        def connections() -> set[str]:
            return {each["id"] for each in seeing.client_list()}

        seeing.hset("launchdarkly:features", "f", '{"key":"f","version":1,"on":false,"offVariation":0,"variations":["stored"]}')
        seeing.set("launchdarkly:$inited", "")
        system = DataSystem.daemon(RedisStore(redis_url), cache="off")
        async with Client("", Config(data_system=system)) as client:
            assert await client.variation("f", USER, "") == "stored"
            parents = connections()

            async def child() -> None:
                await client.start()
                assert await client.variation("f", USER, "") == "stored"
                with redis.Redis.from_url(redis_url) as own:
                    assert {each["id"] for each in own.client_list()} - parents - {str(own.client_id())}
                await client.aclose()

            in_loop_of_child(child)
            assert await client.variation("f", USER, "") == "stored"
            assert parents <= connections()
