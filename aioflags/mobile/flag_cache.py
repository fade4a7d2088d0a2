"""FlagCaches: the flags of the last contexts of one environment and the generated keys, kept on the device.

Writing delays no data: a task writes the newest flags of each context. A cache that cannot be read counts as empty.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import anyio
import msgspec

from aioflags.errors import StoreError
from aioflags.model.change import Change, ChangeSet, ObjectKind
from aioflags.model.defaults import CACHE_PACE, STORAGE_PAUSE, STORE_CLOSE_GRACE
from aioflags.model.detail import FlagEvaluation
from aioflags.protocol.client_side import read_flag_map
from aioflags.protocol.messages import Completed, Malformed
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime import clock
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.cooperative import Budget, Cooperative
from aioflags.runtime.event_loops import ForkSafeAsyncLock
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.sources.base import CachedFlags
from aioflags.stores.storage import DeviceStorage

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context


# -- The names under which a client for a mobile key keeps things in its storage.
# Source: ``client-side.md`` 5.3.


DEVICE_NAMESPACE: Final = "aioflags_device"
"""The namespace of what all environments of a device share."""


def environment_namespace(mobile_key: str) -> str:
    """The namespace of one environment. It does not reveal the key."""
    return f"aioflags_env_{digest(mobile_key.encode())}"


def context_id(context: Context) -> str:
    """The name of a valid context: a digest of its kinds and keys, and of nothing else. It does not reveal them.

    The canonical key would not do: the user ``org:a`` has the same as the org ``a``. The lengths keep a kind and a key apart,
    whatever characters they have.
    """
    named = "".join(f"{single.kind}:{len(single.key)}:{single.key}" for single in context)
    # The prefix: earlier versions named contexts by the digest of the canonical key, without one.
    return f"kinds_{digest(named.encode(errors='surrogatepass'))}"


def digest(data: bytes) -> str:
    """The SHA-256 digest in the URL-safe base64 alphabet, without padding: 43 characters."""
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


# -- GeneratedKeys: keys that a device generates once and keeps.
# Source: ``client-side.md`` 5.5.


_OF_THIS_PROCESS: Final[dict[str, str]] = {}
"""Keys by name, for clients without a storage that works."""


class GeneratedKeys:
    """Keys by name, for all environments of one client.

    Clients that share a storage have the same keys. If two of them generate a key at the same time, they use the one that was
    written last. Without a storage that works, a key lives as long as the process, which is logged once.
    """

    def __init__(self, storage: DeviceStorage | None, logger: logging.Logger) -> None:
        self.storage: DeviceStorage | None = storage
        self._logger = logger
        self._once = Once()
        self._keys: dict[str, str] = {}
        self._lock = ForkSafeAsyncLock()

    async def get(self, name: str) -> str:
        """The key with this name: a UUID, which is generated at the first call. Raises nothing."""
        async with self._lock:
            key = self._keys.get(name)
            if key is None:
                key = self._keys[name] = await self._stored(name)
            return key

    async def _stored(self, name: str) -> str:
        if self.storage is None:
            if self._once("no storage"):
                self._logger.warning("without a storage, generated context keys change when the program starts again")
            return self._of_this_process(name)
        try:
            key = await self.storage.get(DEVICE_NAMESPACE, name)
            if not key:
                generated = str(uuid.uuid4())
                await self.storage.set(DEVICE_NAMESPACE, {name: generated})
                # Another client may have read at the same time, and written later: the next run will use its key.
                key = await self.storage.get(DEVICE_NAMESPACE, name) or generated
        except StoreError:  # It has been logged.
            return self._of_this_process(name)
        return key

    def _of_this_process(self, name: str) -> str:
        return _OF_THIS_PROCESS.setdefault(name, str(uuid.uuid4()))


_INDEX: Final = "contexts"
"""Where the ids of the cached contexts are. Earlier versions had it elsewhere, and other ids: see :func:`context_id`."""
_UNUSED: Final = "cached flags are not used"

_Flags: TypeAlias = Mapping[str, FlagEvaluation]
_Index: TypeAlias = list[tuple[str, int]]
"""Id and time of each cached context, in Unix milliseconds, oldest first."""


class _Freshness(msgspec.Struct, frozen=True):
    """When the service sent or confirmed flags, in Unix milliseconds, and a digest of the whole context."""

    timestamp: int
    fingerprint: str

    def time_for(self, fingerprint: str) -> int | None:
        return self.timestamp if self.fingerprint == fingerprint else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    flags: _Flags
    freshness: _Freshness


_INDEX_DECODER: Final = msgspec.json.Decoder(_Index)
_FRESHNESS: Final = msgspec.json.Decoder(_Freshness)
_encode: Final = msgspec.json.Encoder().encode


class FlagCaches:
    """The cached flags of one environment. ``limit``: of how many contexts. With 0 nothing is read or written.

    :meth:`run` writes until it is cancelled, then :meth:`finish` writes the rest.
    """

    def __init__(self, storage: DeviceStorage, mobile_key: str, *, limit: int, logger: logging.Logger) -> None:
        self._storage = storage
        self._namespace = environment_namespace(mobile_key)
        self._limit = limit
        self._logger = logger
        self._once = Once()
        self._offers: dict[str, _Offer] = {}
        """What is not written yet, by context id, oldest first."""
        self._written: dict[str, _Flags] = {}
        """What was written last, by context id. If these flags are offered again, only their freshness is written."""
        self._offered = Signal()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the task that writes runs in the parent only."""
        self._offered.after_fork()

    def of(self, context: Context, body: bytes) -> ContextCache:
        """The cache of a valid context. ``body``: the JSON of the whole context."""
        return ContextCache(self, context_id(context), digest(body))

    async def run(self) -> None:
        """Write what is offered until cancelled, not faster than the pace. A write that failed is tried again."""
        while True:
            if not self._offers:
                await self._offered.wait()
            is_working = await self._write_offers()
            await anyio.sleep(CACHE_PACE if is_working else STORAGE_PAUSE)

    async def finish(self) -> None:
        """Write what is offered, within the grace. Raises nothing."""
        with anyio.move_on_after(STORE_CLOSE_GRACE, shield=True) as scope:
            await self._write_offers()
        if scope.cancelled_caught:
            self._logger.warning("the client was closed before all flags were cached")

    def offer(self, context_id: str, flags: _Flags, fingerprint: str) -> None:
        """Write the flags of a context soon. They are not changed later."""
        if self._limit:
            self._offers.pop(context_id, None)
            self._offers[context_id] = _Offer(flags=flags, freshness=_Freshness(clock.now_ms(), fingerprint))
            if len(self._offers) > self._limit:
                del self._offers[next(iter(self._offers))]
            self._offered.send()

    # -- reading

    async def read(self, context_id: str, fingerprint: str) -> CachedFlags | None:
        """The flags of a context; ``None`` if they are not cached or cannot be used, which is logged once."""
        if not self._limit:
            return None
        if (offer := self._offers.get(context_id)) is not None:
            changes = tuple(Change(ObjectKind.FLAG, key, flag.version, flag) for key, flag in offer.flags.items())
            return CachedFlags(changes=changes, freshness_ms=offer.freshness.time_for(fingerprint))
        try:
            text = await self._storage.get(self._namespace, f"flags_{context_id}")
            fresh = None if text is None else await self._storage.get(self._namespace, f"fresh_{context_id}")
        except StoreError:
            return None
        return None if text is None else await self._decoded(text, fresh, fingerprint)

    async def _decoded(self, text: str, fresh: str | None, fingerprint: str) -> CachedFlags | None:
        """The flags in ``text``, all or none of them."""
        try:
            freshness_ms = None if fresh is None else _FRESHNESS.decode(fresh).time_for(fingerprint)
        except UNREADABLE as error:
            self._warn(_UNUSED, describe_error(error))
            return None
        match await run_cooperatively(read_flag_map(text)):
            case Completed(change_set=change_set):
                return CachedFlags(changes=change_set.changes, freshness_ms=freshness_ms)
            case Malformed(message=message):
                self._warn(_UNUSED, message)
            case _:
                pass
        return None

    # -- writing

    async def _write_offers(self) -> bool:
        """Write all offers, or stop at a failure of the storage. Returns whether it works."""
        while self._offers:
            context_id, offer = next(iter(self._offers.items()))
            try:
                await self._write(context_id, offer)
            except StoreError:  # It has been logged.
                return False
            except (ValueError, TypeError, RecursionError) as error:
                self._warn("flags cannot be cached", describe_error(error))
            # Removed only now: until it is written, it is read from here. A newer one may have taken its place.
            if self._offers.get(context_id) is offer:
                del self._offers[context_id]
        return True

    async def _write(self, context_id: str, offer: _Offer) -> None:
        """Write an offer. Raises :class:`StoreError`; or what encoding raises, for values that are not JSON."""
        index = await self._read_index()
        fresh = {f"fresh_{context_id}": _encode(offer.freshness).decode()}
        if self._written.get(context_id) is offer.flags and any(cached == context_id for cached, _ in index):
            await self._storage.set(self._namespace, fresh)
            return
        self._written.pop(context_id, None)
        flags = {f"flags_{context_id}": await run_cooperatively(_flag_map(offer.flags))}
        index = [entry for entry in index if entry[0] != context_id]
        index.append((context_id, offer.freshness.timestamp))
        index, evicted = index[-self._limit :], index[: -self._limit]
        await self._remove_unlisted(index, evicted)
        # In this order: flags that the index does not have would stay on the device, and older flags must not count as fresh.
        await self._storage.set(self._namespace, {_INDEX: _encode(index).decode(), **flags, **fresh})
        self._written[context_id] = offer.flags

    async def _remove_unlisted(self, index: _Index, evicted: _Index) -> None:
        """Remove what was evicted, and the flags of contexts that the index lost, because two clients wrote it at the same time."""
        listed = {cached for cached, _ in index}
        present = [key.removeprefix("flags_") for key in await self._storage.list_keys(self._namespace) if key.startswith("flags_")]
        for old in dict.fromkeys([*(cached for cached, _ in evicted), *present]):
            if old not in listed:
                self._written.pop(old, None)
                await self._storage.remove(self._namespace, [f"flags_{old}", f"fresh_{old}"])

    async def _read_index(self) -> _Index:
        text = await self._storage.get(self._namespace, _INDEX)
        if text is None:
            await self._storage.clear(self._namespace)  # of what an earlier version wrote
            return []
        try:
            return _INDEX_DECODER.decode(text)
        except UNREADABLE as error:
            self._warn("the cached flags of all contexts are removed", f"the index: {describe_error(error)}")
            await self._storage.clear(self._namespace)
            return []

    def _warn(self, event: str, reason: str) -> None:
        if self._once(event):
            self._logger.warning("%s: %s", event, printable(reason))


class ContextCache:
    """The cache of one context: a :class:`~aioflags.sources.base.FlagCache`. :meth:`FlagCaches.of` makes it."""

    def __init__(self, caches: FlagCaches, context_id: str, fingerprint: str) -> None:
        self._caches = caches
        self._id = context_id
        self._fingerprint = fingerprint
        self._flags: _Flags | None = None

    async def read(self) -> CachedFlags | None:
        """The flags; ``None`` if the device has not kept any. Raises nothing."""
        return await self._caches.read(self._id, self._fingerprint)

    def applied(self, change_set: ChangeSet, snapshot: Snapshot) -> None:
        """Write the flags soon, now that ``change_set`` led to ``snapshot``; unless they came from the cache. Raises nothing."""
        if change_set.persist:
            # The snapshot of client-side data has evaluated flags.
            self._flags = cast("_Flags", snapshot.flags)
            self._caches.offer(self._id, self._flags, self._fingerprint)

    def confirmed(self) -> None:
        """The service has nothing newer than the flags applied last: write that they are fresh. Raises nothing."""
        if self._flags is not None:
            self._caches.offer(self._id, self._flags, self._fingerprint)


def _flag_map(flags: _Flags) -> Cooperative[str]:
    """The JSON of the flags: key to evaluated flag. Pauses after about 2 ms of work."""
    budget = Budget()
    entries: list[bytes] = []
    for key, flag in flags.items():
        entries.append(_encode(key) + b":" + _encode(msgspec.structs.replace(flag, key="")))
        if budget.is_spent():
            yield
    return (b"{" + b",".join(entries) + b"}").decode()


# -- Bootstrap: the flags that a program has for its first context, which a server-side SDK evaluated.
# Source: ``client-side.md`` 5.4.


_STATE: Final = "$flagsState"
_VALID: Final = "$valid"


class Bootstrap:
    """A :class:`~aioflags.sources.base.FlagCache` of given flags.

    ``document`` has the values by flag key, and under ``$flagsState`` what else is known of each flag. A flag whose entry there
    cannot be used has its value alone.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        state = document.get(_STATE)
        details: Mapping[str, Any] = cast("Mapping[str, Any]", state) if isinstance(state, Mapping) else {}
        self._changes = tuple(
            Change(ObjectKind.FLAG, key, flag.version, flag)
            for key, value in document.items()
            if key not in (_STATE, _VALID)
            for flag in [_evaluated_flag(key, value, details.get(key))]
        )

    async def read(self) -> CachedFlags:
        """The given flags."""
        return CachedFlags(changes=self._changes, freshness_ms=None)


def _evaluated_flag(key: str, value: object, details: object) -> FlagEvaluation:
    if isinstance(details, Mapping):
        try:
            return msgspec.convert({**cast("Mapping[str, Any]", details), "value": value, "key": key}, FlagEvaluation)
        except msgspec.ValidationError:
            pass
    return FlagEvaluation(key=key, value=value)
