"""Analytics events that clients sent: what they say, and what is wrong with them. The newest are kept.

Every payload is accepted, as the service does; a mistake in it becomes a problem. Diagnostic events are kept without their id,
which has a part of the SDK key.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from aioflags.devserver.events.schema import DIAGNOSTIC_KINDS, event_problems
from aioflags.model.nesting import check_depth
from aioflags.model.values import is_array
from aioflags.protocol.documents.problems import UNREADABLE, located_problem
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import printable

__all__ = ["SeenEvent", "SeenEvents"]

_KEPT: Final = 200
_LONGEST: Final = 4000
_MOST_PROBLEMS: Final = 20
_MOST_INFLATED: Final = 16 * 1024 * 1024
_MOST_AT_ONCE: Final = 1000
_SCHEMA: Final = "4"
_UNREADABLE: Final = "unreadable"
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """One event, or a payload that is none. ``client``: the number of who sent it; ``text``: its JSON, cut if it is long."""

    number: int
    at_ms: int
    client: int
    kind: str
    text: str
    problems: tuple[str, ...]

    @property
    def json(self) -> dict[str, Any] | None:
        """The event; ``None`` if it is not an object, or too long to be kept whole."""
        try:
            event = _decoded(self.text.encode())
        except UNREADABLE:
            return None
        return cast("dict[str, Any]", event) if isinstance(event, dict) else None


class SeenEvents:
    """The newest events. ``count`` is how many came, ``faulty`` how many of them have problems; ``revision`` grows with news."""

    def __init__(self) -> None:
        self.count: int = 0
        self.faulty: int = 0
        self.revision: int = 0
        self._kept: deque[SeenEvent] = deque(maxlen=_KEPT)

    @property
    def newest(self) -> Sequence[SeenEvent]:
        """The last two hundred, newest first."""
        return tuple(reversed(self._kept))

    def clear(self) -> None:
        """Forget them all, and begin to count anew."""
        self._kept.clear()
        self.count = self.faulty = 0
        self.revision += 1

    def accept(self, body: bytes, headers: Mapping[str, str], *, client: int, flags: Collection[str], is_analytics: bool) -> None:
        """Take a payload of analytics events, or one diagnostic event. ``flags``: the keys of those that are served."""
        text = body
        try:
            if headers.get("content-encoding", "").strip().lower() == "gzip":
                text = _inflated(body)
            check_depth(text)
            payload: Any = _decoded(text)
        except UNREADABLE as error:
            self._keep(client, _UNREADABLE, "", [located_problem("the payload", error, text)])
            return
        except (zlib.error, OverflowError) as error:
            self._keep(client, _UNREADABLE, "", [f"the payload is not gzip that can be taken: {error}"])
            return
        if not is_analytics:
            self._keep_event(payload, client, flags, [])
            return
        events = _as_events(payload)
        problems = _payload_problems(events, headers)
        if not events:
            self._keep(client, _UNREADABLE, _shown(payload), problems)
        for event in (events or [])[:_MOST_AT_ONCE]:
            self._keep_event(event, client, flags, problems)
            problems = []

    def _keep_event(self, event: Any, client: int, flags: Collection[str], problems: Sequence[str]) -> None:
        found: Mapping[str, Any] = cast("Mapping[str, Any]", event) if isinstance(event, Mapping) else {}
        kind = found.get("kind")
        name = printable(kind) if isinstance(kind, str) else _UNREADABLE
        shown = {key: value for key, value in found.items() if key != "id"}
        text = _shown(shown if name in DIAGNOSTIC_KINDS else cast("Any", event))
        self._keep(client, name, text, [*problems, *event_problems(event, flags)])

    def _keep(self, client: int, kind: str, text: str, problems: Sequence[str]) -> None:
        self.count += 1
        self.faulty += bool(problems)
        self.revision += 1
        self._kept.append(
            SeenEvent(
                number=self.count,
                at_ms=now_ms(),
                client=client,
                kind=kind,
                text=text,
                problems=tuple(map(printable, problems[:_MOST_PROBLEMS])),
            )
        )


def _as_events(payload: Any) -> list[Any] | None:
    return payload if is_array(payload) else None


def _payload_problems(events: list[Any] | None, headers: Mapping[str, str]) -> list[str]:
    """What is wrong with a payload as a whole; it is noted beside its first event."""
    problems: list[str] = []
    if events is None:
        problems.append("the payload: expected an array of events")
    elif not events:
        problems.append("the payload: without an event it is not to be sent")
    elif len(events) > _MOST_AT_ONCE:
        problems.append(f"the payload: it has more events than the {_MOST_AT_ONCE} that are looked at")
    if "x-launchdarkly-payload-id" not in headers:
        problems.append("the payload: the header X-LaunchDarkly-Payload-ID is missing")
    if headers.get("x-launchdarkly-event-schema") != _SCHEMA:
        problems.append(f"the payload: the header X-LaunchDarkly-Event-Schema is not {_SCHEMA}")
    return problems


def _inflated(body: bytes) -> bytes:
    """The content of gzip. Raises :class:`OverflowError` for more than 16 MiB."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    text = inflater.decompress(body, _MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise OverflowError("it inflates beyond all measure")
    return text


def _decoded(text: bytes) -> Any:
    """The value of JSON text. msgspec refuses escaped lone surrogates, which JSON allows and SDKs send; Python's decoder does not.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if _SURROGATE.search(text) is None:
            raise
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            pass
        raise  # in the words of the first decoder


def _refuse_constant(name: str) -> None:
    """``NaN`` and ``Infinity``, which Python's decoder takes."""
    raise ValueError(f"JSON has no {name}")


def _shown(event: Any) -> str:
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeEncodeError:
        # A lone surrogate is shown escaped, as it was sent.
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
