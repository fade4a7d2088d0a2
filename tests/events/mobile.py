"""Recorders for events of clients with a mobile key, and evaluated flags for each way in which evaluations are reported."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.options import MobileEvents
from aioflags.events.outbox import payloads
from aioflags.events.recorder import Recorder
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.protocol.redaction import Redaction
from aioflags.protocol.side import MOBILE_EVENTS
from tests.support.events import FAR, U1, short

__all__ = ["SNAPSHOT", "evaluate", "mobile_recorder", "sent", "sent_in_short"]

FALLTHROUGH: Final = {"kind": "FALLTHROUGH"}


def _flag(value: Any = "b", variation: int | None = 1, **properties: Any) -> FlagEvaluation:
    return FlagEvaluation(value=value, variation=variation, version=7, **properties)


FLAGS: Final = {
    "plain": _flag(),
    "other": _flag(),
    "released": _flag(flag_version=3, track_events=True),
    "version zero": _flag(flag_version=0, track_events=True),
    "tracked": _flag(track_events=True),
    "with reason": _flag(track_events=True, reason=FALLTHROUGH),
    "exp": _flag(track_events=True, track_reason=True, reason=FALLTHROUGH),
    "reason alone": _flag(track_reason=True, reason=FALLTHROUGH),
    "debug": _flag(debug_events_until_date=FAR),
    "past debug": _flag(debug_events_until_date=1000),
    "both": _flag(track_events=True, debug_events_until_date=FAR),
    "null": _flag(None, track_events=True),
    "number": _flag(7, track_events=True, track_reason=True, reason=FALLTHROUGH),
    "a": _flag(track_events=True, prerequisites=("b", "c")),
    "b": _flag(track_events=True),
    "c": _flag(track_events=True),
    "needs unknown": _flag(prerequisites=("gone",)),
}
SNAPSHOT: Final = Snapshot.empty(dialect=CLIENT_SIDE).apply(
    ChangeSet(
        kind=ChangeKind.FULL,
        changes=tuple(Change(ObjectKind.FLAG, key, 1, msgspec.structs.replace(flag, key=key)) for key, flag in FLAGS.items()),
    )
)


def mobile_recorder(**options: Any) -> Recorder:
    """An open recorder. ``options`` are those of ``MobileEvents`` and of ``Recorder``."""
    own = {"chance", "clock", "has_gil", "logger"}
    settings = MobileEvents(**{name: options.pop(name) for name in list(options) if name not in own})
    made = Recorder(settings, **options)
    made.open()
    return made


def evaluate(to: Recorder, key: str, context: Context = U1, *, detail: bool = False) -> None:
    """An evaluation with the default "d"."""
    evaluation = SNAPSHOT.evaluate(key, context, "d", wanted=str)
    to.evaluated(key, context, "d", evaluation, with_reason=detail)


async def sent(from_: Recorder, redaction: Redaction | None = None) -> list[dict[str, Any]]:
    """The records of all payloads of the next batch."""
    batch = from_.drain()
    if batch is None:
        return []
    made = [payload async for payload in payloads(batch, redaction or Redaction(), MOBILE_EVENTS)]
    for payload in made:
        from_.mark_settled(events=payload.events, evaluations=payload.evaluations, is_sent=True)
    return [record for payload in made for record in json.loads(payload.body)]


async def sent_in_short(from_: Recorder) -> list[str]:
    """The records of the next batch, each in a few words."""
    return [short(record) for record in await sent(from_)]
