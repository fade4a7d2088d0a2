"""Canaries: the SDK key and the private value of all tests. A watch detects them wherever they must not appear.

A pytest plugin, active for every test. It checks log records, output, exceptions that a test catches (warnings are exceptions
here), the test's folder and its Redis, and everything that the servers of tests receive. A canary in one of these fails the
test. A test that has to show a canary gives the reason: ``@pytest.mark.shows_canaries("reason")``.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias

import httpx
import pytest
import redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags import Context
from aioflags.runtime.logs import logger

KEY: Final = "key-canary-3f9c51b7"
"""The SDK key of tests. Only its last characters may be sent, in diagnostic events."""
SECRET: Final = "private-canary-3f9c51b7"
"""The value of attributes that are private."""
CANARIES: Final = ("key-canary", "private-canary")
"""Text that must not appear in a watched place. A test that needs two keys begins both of them with it."""

_LARGEST: Final = 4 * 2**20
"""The number of bytes of a file that are checked."""

Where: TypeAlias = str


def secretive(key: str, kind: str = "user", **attributes: object) -> Context:
    """A context with a private attribute, in addition to those given."""
    return Context(key, kind, attributes={**attributes, "secret": SECRET}, private=["secret"])


def redacted(key: str) -> dict[str, object]:
    """The same context as events have it."""
    return {"kind": "user", "key": key, "_meta": {"redactedAttributes": ["secret"]}}


class Watch:
    """Checks data for canaries, and keeps the places where it found one until :meth:`end`. Safe to use from any thread."""

    def __init__(self) -> None:
        self._seen: list[Where] = []

    def end(self) -> Sequence[Where]:
        """The places of canaries since the previous call."""
        seen, self._seen = self._seen, []
        return seen

    # -- data to check

    def text(self, where: Where, *texts: str | bytes) -> None:
        """Text or bytes that leave the process or are stored."""
        for text in texts:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            self._seen += [f"{where}: {_around(shown, canary)}" for canary in CANARIES if canary in shown]

    def error(self, where: Where, error: BaseException) -> None:
        """An exception with its causes, its notes and the members of a group."""
        left, met = [error], set[int]()
        while left:
            found = left.pop()
            if id(found) not in met:
                met.add(id(found))
                self.text(f"{where}, {type(found).__name__}", str(found), repr(found), *getattr(found, "__notes__", ()))
                left += [each for each in (found.__cause__, found.__context__) if each is not None]
                left += found.exceptions if isinstance(found, BaseExceptionGroup) else ()

    def record(self, record: logging.LogRecord) -> None:
        """A log record, with its arguments and its exception."""
        where = f"log of {record.name}, {record.levelname}"
        self.text(where, record.getMessage(), repr(record.args), record.stack_info or "")
        if record.exc_info and record.exc_info[1] is not None:
            self.error(where, record.exc_info[1])

    def request(self, request: httpx.Request) -> None:
        """A complete request: the key may be in one header."""
        headers = [(name.decode(), value) for name, value in request.headers.raw]
        self.sent(f"{request.method} {request.url.path}", str(request.url), headers, request.content)

    def sent(self, what: str, url: str | bytes, headers: Iterable[tuple[str, bytes]], body: bytes = b"") -> None:
        """The parts of a request. A compressed body is decompressed."""
        fields = [(name.lower(), value) for name, value in headers]
        self.text(f"{what}, address", url)
        others = [(name, value) for name, value in fields if name != "authorization"]
        self.text(f"{what}, headers", *(part for field in others for part in field))
        self.text(f"{what}, body", gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)

    def head(self, head: bytes) -> None:
        """The head of a request as a bare socket receives it."""
        first, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        named = [(name, value.strip().encode("latin-1")) for name, _, value in (field.partition(":") for field in fields)]
        self.sent(" ".join(first.split()[:1]), first, named)

    def app(self, app: ASGIApp) -> ASGIApp:
        """``app``, with a check of every request to it."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            body = bytearray()

            async def read() -> Message:
                message = await receive()
                body.extend(message.get("body", b""))
                return message

            try:
                await app(scope, read, send)
            finally:
                if scope["type"] == "http":
                    what, address = f"{scope['method']} {scope['path']}", scope["path"].encode() + scope["query_string"]
                    self.sent(what, address, [(name.decode("latin-1"), value) for name, value in scope["headers"]], bytes(body))

        return watched

    def folder(self, folder: Path) -> None:
        """Every file in a folder, and its name."""
        for path in folder.rglob("*"):
            self.text("a file's name", path.name)
            try:
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    self.text(f"file {path.name}", path.read_bytes())
            except OSError:  # a test removed the permission to read it
                continue

    def redis(self, client: redis.Redis) -> None:
        """All keys and values."""
        for name in client.scan_iter(count=1000):
            match client.type(name):
                case b"hash":
                    held: object = client.hgetall(name)
                case b"set":
                    held = client.smembers(name)
                case b"string":
                    held = client.get(name)
                case _:  # a list, a sorted set or a stream of a queue: in the form that Redis writes to a file
                    held = client.dump(name)
            self.text("Redis", name, repr(held))

    # -- hooks of pytest

    def raises(self, *args: Any, **kwargs: Any) -> Any:
        """``pytest.raises`` with a check of the exception."""
        return _Raises(self, _RAISES(*args, **kwargs))


class _Raises:
    """``with pytest.raises(...)``, which checks the exception that was caught."""

    def __init__(self, watch: Watch, block: Any) -> None:
        self._watch = watch
        self._block = block

    def __enter__(self) -> Any:
        return self._block.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Any:
        caught = self._block.__exit__(kind, error, trace)
        if caught and error is not None:
            self._watch.error("caught", error)
        return caught


class _Handler(logging.Handler):
    """Checks the records that reach the root logger, from any library."""

    def emit(self, record: logging.LogRecord) -> None:
        WATCH.record(record)


def _opened(record: logging.LogRecord) -> bool:
    """Checks each record of the package, also those below the level of a test. Those are not passed on."""
    WATCH.record(record)
    return record.levelno >= (logging.root.level if logger.level == _OPEN else logger.level)


def _around(text: str, canary: str) -> str:
    at = text.index(canary)
    return repr(text[max(at - 60, 0) : at + 60])


WATCH: Final = Watch()
_RAISES: Final = pytest.raises
_OPEN: Final = 1
_OURS: Final = pytest.StashKey[list[Callable[[], None]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Starts the watch."""
    config.addinivalue_line("markers", "shows_canaries(reason): this test has to show the key or the private value, and why")
    handler, patch, level = _Handler(), pytest.MonkeyPatch(), logger.level
    # The suite replaces nothing else: this is the only way to see an exception that a test expects.
    patch.setattr(pytest, "raises", WATCH.raises)
    logging.root.addHandler(handler)
    logger.addFilter(_opened)
    logger.setLevel(_OPEN)
    config.stash[_OURS] = [
        patch.undo,
        lambda: logging.root.removeHandler(handler),
        lambda: logger.removeFilter(_opened),
        lambda: logger.setLevel(level),
    ]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the watch."""
    for undo in config.stash.get(_OURS, []):
        undo()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuses a marker without a reason."""
    for item in items:
        for marker in item.iter_markers("shows_canaries"):
            if not (marker.args and isinstance(marker.args[0], str) and marker.args[0].strip()):
                raise pytest.UsageError(f"{item.nodeid}: shows_canaries needs the reason")


@pytest.fixture(autouse=True)
def _canaries_that_stay(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks the folder and the Redis of a test after it, if it uses them."""
    names = request.fixturenames
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in names else None
    address: str | None = request.getfixturevalue("redis_url") if "redis_url" in names else None
    yield
    if folder is not None:
        WATCH.folder(folder)
    if address is not None:
        with redis.Redis.from_url(address) as client:
            WATCH.redis(client)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Checks the output, and after the last fixture reports the canaries."""
    report: pytest.TestReport = yield
    if call.excinfo is not None:
        WATCH.error("raised", call.excinfo.value)
    if report.when == "teardown":
        WATCH.text("output", *(text for _, text in report.sections))
        seen = WATCH.end()
        if seen and item.get_closest_marker("shows_canaries") is None:
            report.outcome = "failed"
            report.longrepr = "\n".join(["a canary was seen", *dict.fromkeys(seen)])
    return report
