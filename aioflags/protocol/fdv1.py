"""FDv1: the body of ``/sdk/latest-all`` becomes a full change set without a selector.

Source: ``data-system.md`` 3.1.
"""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Final

import msgspec

from aioflags.logs import printable
from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.model.defaults import SLICE
from aioflags.protocol.definitions import SECTIONS, put, read_definition, states_version
from aioflags.protocol.effects import Completed, Effect, Malformed
from aioflags.protocol.problems import UNREADABLE, read_problem

__all__ = ["read_all"]


class _All(msgspec.Struct):
    flags: dict[str, msgspec.Raw] | None = None
    segments: dict[str, msgspec.Raw] | None = None


_ALL: Final = msgspec.json.Decoder(_All)


def read_all(body: bytes) -> Generator[None, None, Effect]:
    """All flags and segments, or what is wrong with one of them: :class:`Completed` or :class:`Malformed`.

    A generator that pauses after about 2 ms of work and returns the effect.
    """
    place = "latest-all"
    changes: list[Change] = []
    until = perf_counter() + SLICE
    try:
        found = _ALL.decode(body)
        sections = {"flags": found.flags or {}, "segments": found.segments or {}}
        for section, entries in sections.items():
            kind = SECTIONS[section]
            for key, text in entries.items():
                place = f"{section}.{key}"
                definition = read_definition(kind, text)
                if not states_version(definition, text):
                    return Malformed(printable(f'{place}: missing required property "version"'))
                changes.append(put(kind, key, definition.version, definition))
                if perf_counter() > until:
                    yield
                    until = perf_counter() + SLICE
    except UNREADABLE as error:
        return Malformed(printable(f"{place}: {read_problem(error)}"))
    return Completed(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))
