"""Items of stores: how definitions are encoded, and what stores share in databases that other SDKs use as well.

Encode flag and segment definitions as items of a store, and decode them.

The text is LaunchDarkly's JSON, because other SDKs read it, too. Fields that are ``None`` are left out, since
some SDKs do not accept null.

Source: ``data-system.md`` 7.4 and 7.8; ``evaluation.md`` 2.
"""

from __future__ import annotations

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

import anyio
import msgspec

from aioflags.errors import StoreError
from aioflags.evaluation.items import Items, completed
from aioflags.evaluation.operators import prerequisites_first
from aioflags.model.change import Change, Definition, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import check_depth
from aioflags.protocol.definitions import put, read_definition
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime.cooperative import Cooperative, sliced
from aioflags.runtime.logs import Once, printable
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.guest import Closable

_SLICE: Final = 50
"""Items to read or write between two pauses: a millisecond of work or less."""


class _Versioned(msgspec.Struct):
    """The field that every stored object has, also a deleted one."""

    version: int = 0


_VERSION: Final = msgspec.json.Decoder(_Versioned)


def stored_version(text: bytes) -> int | None:
    """The version of a stored object; ``None`` if the text cannot be read."""
    try:
        check_depth(text)
        return _VERSION.decode(text).version
    except UNREADABLE:
        return None


# -- from text


def read_items(items: StoredItems, complain: Callable[[str], None]) -> Cooperative[tuple[Change, ...]]:
    """The changes that put or delete every item; cooperative. Items that cannot be read are passed to ``complain`` and left out."""
    changes: list[Change] = []
    for kind in ObjectKind:
        for batch in sliced(items.get(kind, {}).values(), _SLICE):
            changes += [change for item in batch if (change := read_item(item, complain)) is not None]
            yield
    return tuple(changes)


def read_item(item: StoredItem, complain: Callable[[str], None]) -> Change | None:
    """The change that puts or deletes one item. Its key is the stored one, whatever key the text has."""
    try:
        check_depth(item.text)
        definition = read_definition(item.kind, item.text)
    except (*UNREADABLE, TypeError) as error:
        complain(f"{item.kind} {printable(item.key)}: {printable(error)}")
        return None
    if definition.key != item.key and not definition.deleted:
        definition = msgspec.structs.replace(definition, key=item.key)
    return put(item.kind, item.key, definition.version, definition)


# -- to text


def write_items(items: Items) -> Cooperative[StoredItems]:
    """All items, deleted ones included, in the order in which a store writes them; cooperative."""
    segments: dict[str, StoredItem] = {}
    flags: dict[str, StoredItem] = {}
    for batch in sliced(items.segments.items(), _SLICE):
        segments.update((key, _live(ObjectKind.SEGMENT, key, segment)) for key, segment in batch)
        yield
    for keys in sliced(prerequisites_first(items.flags), _SLICE):
        flags.update((key, _live(ObjectKind.FLAG, key, items.flags[key])) for key in keys)
        yield
    for (kind, key), version in items.tombstones.items():
        (flags if kind is ObjectKind.FLAG else segments)[key] = _deleted(kind, key, version)
    return {ObjectKind.SEGMENT: segments, ObjectKind.FLAG: flags}


def stored_items(changes: Collection[Change]) -> list[StoredItem]:
    """The items of complete changes, one for each key, in the order in which a store writes them."""
    items = {(change.kind, change.key): _item(change) for change in changes}
    flags = {change.key: change.definition for change in changes if change.kind is ObjectKind.FLAG}
    live = {key: flag for key, flag in flags.items() if isinstance(flag, FlagDefinition)}
    order = [*prerequisites_first(live), *(key for key in flags if key not in live)]
    segments = [item for item in items.values() if item.kind is ObjectKind.SEGMENT]
    return segments + [items[ObjectKind.FLAG, key] for key in order]


def complete(change: Change) -> Change:
    """The change with the version that a store compares: the version of the definition, otherwise of its transfer."""
    definition = completed(change)
    if definition is None:
        return change
    return Change(change.kind, change.key, definition.version, None if definition.deleted else definition)


def _item(change: Change) -> StoredItem:
    if change.definition is None:
        return _deleted(change.kind, change.key, change.version)
    return _live(change.kind, change.key, change.definition)


def _live(kind: ObjectKind, key: str, definition: Definition) -> StoredItem:
    return StoredItem(kind, key, definition.version, msgspec.json.encode(_without_none(definition)))


def _deleted(kind: ObjectKind, key: str, version: int) -> StoredItem:
    return StoredItem(kind, key, version, msgspec.json.encode({"key": key, "version": version, "deleted": True}))


def _without_none(part: Any) -> Any:
    """A definition as JSON, without fields that are ``None``. Variations are left as they are: ``None`` is a value there."""
    if not isinstance(part, msgspec.Struct):
        return part
    fields: dict[str, Any] = {}
    for name, field in _names(type(part)):
        value: Any = getattr(part, name)
        if value is None:
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            fields[field] = [_without_none(inner) for inner in cast("tuple[msgspec.Struct, ...]", value)]
        else:
            fields[field] = _without_none(value)
    return fields


_NAMES: Final[dict[type[msgspec.Struct], tuple[tuple[str, str], ...]]] = {}


def _names(part: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Each field of a part: its name in Python and its name in JSON."""
    if part not in _NAMES:
        _NAMES[part] = tuple(zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True))
    return _NAMES[part]


# -- The layout of databases that LaunchDarkly's SDKs and its Relay Proxy share: the names in it, and its items as they are
# read.
# Source: ``data-system.md`` 7.4; LaunchDarkly's SDKs, which use the same names in all databases.


COLLECTIONS: Final[Mapping[ObjectKind, str]] = {ObjectKind.SEGMENT: "segments", ObjectKind.FLAG: "features"}
"""The name under which a database has all items of a kind. Segments are read and written first, since flags need them."""
MARKER: Final = "$inited"
"""The name of what is set when a whole data set was written."""


def marker_text(kinds: Collection[ObjectKind]) -> str:
    """The value of the marker of a data set that has items of ``kinds``. Other SDKs read no value of a marker."""
    return " ".join([MARKER, *(name for kind, name in COLLECTIONS.items() if kind in kinds)])


def listed_kinds(text: bytes | None) -> frozenset[ObjectKind] | None:
    """The kinds of a :func:`marker_text`; ``None`` without a marker, and for the marker of another SDK."""
    words = [] if text is None else text.split(b" ")
    if not words or words[0] != MARKER.encode():
        return None
    return frozenset(kind for kind, name in COLLECTIONS.items() if name.encode() in words)


def longer_marker(text: bytes | None, kinds: Collection[ObjectKind]) -> str | None:
    """The value of a marker when ``kinds`` have items, too; ``None`` if it lists them, or is the marker of another SDK."""
    listed = listed_kinds(text)
    return None if listed is None or listed.issuperset(kinds) else marker_text(listed.union(kinds))


class ItemReader:
    """Makes items of the texts in a database, and logs each one that cannot be read once."""

    __slots__ = ("_database", "_logger", "_unreadable")

    def __init__(self, database: str, logger: logging.Logger) -> None:
        self._database = database
        self._logger = logger
        self._unreadable = Once()

    def __call__(self, kind: ObjectKind, key: str, text: bytes | None) -> StoredItem | None:
        """The item; ``None`` without a text, or if it cannot be read.

        ``key`` is the one under which the database has the text: a tombstone may have another key in its text.
        """
        version = None if text is None else stored_version(text)
        if text is not None and version is not None:
            return StoredItem(kind, key, version, text)
        if self._unreadable((kind, key)):
            self._logger.warning("%s: %s %s cannot be read and is ignored", self._database, kind, printable(key))
        return None


# -- Retries: how often a store repeats an attempt, and after which pauses.


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """At most ``attempts`` attempts, with random pauses between them, whose limit doubles.

    ``first_pause`` and ``max_pause``: upper limits, in seconds, of the first pause and of every pause.
    """

    attempts: int
    first_pause: float
    max_pause: float

    def pause(self, failures: int, chance: float) -> float:
        """Seconds to wait after ``failures`` failed attempts: 0 after none, then a random part of the limit.

        ``chance`` in [0, 1) is that part. The whole pause is random, because processes that start at one moment would meet again.
        """
        return chance * min(self.first_pause * 2.0 ** (failures - 1), self.max_pause) if failures else 0.0


LOST_RACE: Final = Retries(attempts=32, first_pause=0.01, max_pause=0.5)
"""For an upsert while other processes write at the same time. Other SDKs make ten attempts, without pauses.

120 processes need at most 27 attempts each, with a round trip of 20 ms to Redis.
"""


# -- DatabaseFlags: what the stores of Redis, DynamoDB and Consul have in common.


Connection = TypeVar("Connection", bound=Closable)


class DatabaseFlags(ABC, Generic[Connection]):
    """Flags and segments in a database, each kind in a place of its own, and a marker that is set when they are written.

    The marker lists the kinds that have items: a database may lose all items of a kind and keep the marker, by eviction or by a
    script that deletes. A data set that lacks a listed kind is never read, and no change set is written to it: the kind would begin
    again with a few items, and look complete.

    ``chance`` returns numbers in [0, 1).
    """

    database: ClassVar[str]
    lost_advice: ClassVar[str] = "a client that writes to it writes them again"

    def __init__(
        self,
        connection: Connection,
        places: Mapping[ObjectKind, str],
        marker: str,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._places = places
        self._marker = marker
        self._logger = logger
        self._chance = chance
        self._read_item = ItemReader(self.database, logger)
        self._refused = Once()
        # Two writers of one client would interrupt each other, or overwrite what the other one has just written.
        self._writing = anyio.Lock()

    @abstractmethod
    async def _look(self, kinds: Collection[ObjectKind]) -> tuple[Any, list[str]]:
        """The marker as it is stored, and the places of these kinds that it lists and that are empty."""

    async def initialized(self) -> bool:
        """Whether the marker exists, and an item of each kind that it lists."""
        marker, lost = await self._look(self._places)
        return marker is not None and not lost

    async def is_available(self) -> bool:
        """Whether the database answers. The answer does not matter."""
        await self._look(())
        return True

    async def aclose(self) -> None:
        """Close the connections, unless the program passed the client."""
        await self._connection.aclose()

    async def _require_whole(self, kinds: Collection[ObjectKind]) -> None:
        """Raise :class:`StoreError` if the items of one of these kinds are lost."""
        self._require_not_lost((await self._look(kinds))[1])

    def _require_not_lost(self, places: Sequence[str]) -> None:
        if places:
            raise StoreError(f"{self.database} has lost all items of {' and '.join(places)}: {self.lost_advice}")

    async def _write_first(self, write: Callable[[], Awaitable[bool]], what: str) -> None:
        """Call ``write``, which returns false if another process writes first. Then pause and try again.

        All processes of a fleet receive a change at the same moment, and write it. One that loses the race reads the items again:
        usually another process has written the same ones.

        Raises:
            StoreError: another process wrote first every time.
        """
        async with self._writing:
            for failures in range(LOST_RACE.attempts):
                await anyio.sleep(LOST_RACE.pause(failures, self._chance()))
                if await write():
                    return
        raise StoreError(f"{what} changed {LOST_RACE.attempts} times while this client tried to write")
