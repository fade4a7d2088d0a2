"""Canaries: the SDK key and the private value that the suite uses, and a watch over the places where neither may ever appear.

A pytest plugin, on for every test: log records, output, exceptions that a test catches (warnings are exceptions here), what it
leaves in its folder and in its Redis, and all that the tests' own servers are sent. What is seen there fails the test that it was
seen in. A test that has to show a canary says why: ``@pytest.mark.shows_canaries("reason")``.
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

__all__ = ["CANARIES", "KEY", "SECRET", "WATCH", "Watch", "redacted", "secretive"]

KEY: Final = "sdk-canary-3f9c51b7"
"""The SDK key of tests. Its last characters alone may be told, in diagnostic events."""
SECRET: Final = "private-canary-3f9c51b7"
"""The value of attributes that are private."""
CANARIES: Final = ("sdk-canary", "private-canary")
"""What no place under watch may hold. A test that needs two keys begins both of them so."""

_LARGEST: Final = 4 * 2**20
"""Bytes of a file that are looked through."""

Where: TypeAlias = str


def secretive(key: str, kind: str = "user", **attributes: object) -> Context:
    """A context with a private attribute beside those given."""
    return Context(key, kind, attributes={**attributes, "secret": SECRET}, private=["secret"])


def redacted(key: str) -> dict[str, object]:
    """The same as events tell it."""
    return {"kind": "user", "key": key, "_meta": {"redactedAttributes": ["secret"]}}


class Watch:
    """Looks at what it is shown, and keeps where it saw a canary until :meth:`end`. From any thread."""

    def __init__(self) -> None:
        self._seen: list[Where] = []

    def end(self) -> Sequence[Where]:
        """Where canaries were seen since the last time."""
        seen, self._seen = self._seen, []
        return seen

    # -- what may be looked at

    def text(self, where: Where, *texts: str | bytes) -> None:
        """Text, or bytes, as they leave the process or stand in something that lasts."""
        for text in texts:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            self._seen += [f"{where}: {_around(shown, canary)}" for canary in CANARIES if canary in shown]

    def error(self, where: Where, error: BaseException) -> None:
        """An exception with all that it carries: causes, the members of a group, notes."""
        left, met = [error], set[int]()
        while left:
            found = left.pop()
            if id(found) not in met:
                met.add(id(found))
                self.text(f"{where}, {type(found).__name__}", str(found), repr(found), *getattr(found, "__notes__", ()))
                left += [each for each in (found.__cause__, found.__context__) if each is not None]
                left += found.exceptions if isinstance(found, BaseExceptionGroup) else ()

    def record(self, record: logging.LogRecord) -> None:
        """A line of a log, with its arguments and its exception."""
        where = f"log of {record.name}, {record.levelname}"
        self.text(where, record.getMessage(), repr(record.args), record.stack_info or "")
        if record.exc_info and record.exc_info[1] is not None:
            self.error(where, record.exc_info[1])

    def request(self, request: httpx.Request) -> None:
        """A request that was read to its end: the key may stand in one header."""
        headers = [(name.decode(), value) for name, value in request.headers.raw]
        self.sent(f"{request.method} {request.url.path}", str(request.url), headers, request.content)

    def sent(self, what: str, url: str | bytes, headers: Iterable[tuple[str, bytes]], body: bytes = b"") -> None:
        """The same in parts. A body that was deflated is inflated."""
        fields = [(name.lower(), value) for name, value in headers]
        self.text(f"{what}, address", url)
        others = [(name, value) for name, value in fields if name != "authorization"]
        self.text(f"{what}, headers", *(part for field in others for part in field))
        self.text(f"{what}, body", gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)

    def head(self, head: bytes) -> None:
        """The same as a bare socket gets it, without a body."""
        first, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        named = [(name, value.strip().encode("latin-1")) for name, _, value in (field.partition(":") for field in fields)]
        self.sent(" ".join(first.split()[:1]), first, named)

    def app(self, app: ASGIApp) -> ASGIApp:
        """``app``, and every request to it is looked at."""

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
        """Every file in it, and its name."""
        for path in folder.rglob("*"):
            self.text("a file's name", path.name)
            try:
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    self.text(f"file {path.name}", path.read_bytes())
            except OSError:  # a test took away the right to read it, and with it that of anybody else
                continue

    def redis(self, client: redis.Redis) -> None:
        """Whatever there is."""
        for name in client.scan_iter(count=1000):
            match client.type(name):
                case b"hash":
                    held: object = client.hgetall(name)
                case b"set":
                    held = client.smembers(name)
                case _:
                    held = client.get(name)
            self.text("Redis", name, repr(held))

    # -- pytest's part

    def raises(self, *args: Any, **kwargs: Any) -> Any:
        """``pytest.raises`` under watch."""
        return _Raises(self, _RAISES(*args, **kwargs))


class _Raises:
    """``with pytest.raises(...)``, and what was caught is looked at."""

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
    """What arrives at the root, from whichever library."""

    def emit(self, record: logging.LogRecord) -> None:
        WATCH.record(record)


def _opened(record: logging.LogRecord) -> bool:
    """Looks at each record of the package, those below the level that counts in a test too; they go no further."""
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
    """The watch begins."""
    config.addinivalue_line("markers", "shows_canaries(reason): this test has to show the key or the private value, and why")
    handler, patch, level = _Handler(), pytest.MonkeyPatch(), logger.level
    # The one thing that the suite replaces: nothing else tells of an exception that a test expects.
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
    """It ends."""
    for undo in config.stash.get(_OURS, []):
        undo()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Nobody opts out without a reason."""
    for item in items:
        for marker in item.iter_markers("shows_canaries"):
            if not (marker.args and isinstance(marker.args[0], str) and marker.args[0].strip()):
                raise pytest.UsageError(f"{item.nodeid}: shows_canaries needs the reason")


@pytest.fixture(autouse=True)
def _canaries_that_stay(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test's folder and its Redis, if it asks for them, are looked at when the test is over."""
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
    """Looks at the output, and after the last fixture says what was seen."""
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
