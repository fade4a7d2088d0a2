"""MemoryClient: a client on flags that the test sets, which counts at once.

It can be evaluated as soon as it is made, from sync and async tests alike, and be handed to an application that starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from aioflags.client.client import Client
from aioflags.client.typed import plain_key
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag import FlagDefinition, VariationOrRollout
from aioflags.model.result import SourceState
from aioflags.model.status import StatusReport
from aioflags.model.values import same_json
from aioflags.protocol.definitions import put, value_flag
from aioflags.protocol.documents.document import plain_json, read_document
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require
from aioflags.sources.flag_builder import WANTED, FlagBuilder

__all__ = ["MemoryClient", "serving"]


class MemoryClient(Client):
    """A :class:`Client` without key and network, whose flags the test sets: ``flags.set("new-checkout", True)``.

    ``document`` is one in LaunchDarkly's file form, as of :meth:`Client.local`. What is set is seen by the next evaluation, in
    whatever thread or task; those who follow changes hear of it on the client's event loop.

    Raises:
        ConfigError: the document has a mistake.
    """

    # It sends nothing and holds nothing open, and a fixture cannot close what an application under test has started.
    _warns_if_unclosed: ClassVar[bool] = False

    def __init__(self, document: Mapping[str, object] | ChangeSet | None = None, config: Config | None = None) -> None:
        super().__init__("", replace(Config() if config is None else config, data_system=DataSystem()))
        self._lock = Lock()
        self._home: asyncio.AbstractEventLoop | None = None
        change_set = document if isinstance(document, ChangeSet) else read_document(document or {})
        self._holder.publish(self._holder.snapshot.apply(change_set))
        self._cell.report(SourceState.VALID)

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """:meth:`Client.start`, which here never has to wait."""
        self._home = asyncio.get_running_loop()
        return await super().start(start_wait)

    def set(self, key: str, value: object) -> None:
        """The flag has this value for everybody from now on, whatever targets, rules and prerequisites said.

        Raises:
            ConfigError: ``value`` is not a JSON value, or ``key`` is not a string.
        """
        key = plain_key(key)
        plain = plain_json(value, key)
        self._put(key, lambda known, version: serving(key, plain, known, version))

    def remove(self, key: str) -> None:
        """There is no such flag any more, if there was one."""
        key = plain_key(key)
        with self._lock:
            if (known := self._holder.snapshot.flags.get(key)) is not None:
                self._apply(Change(ObjectKind.FLAG, key, known.version + 1, None))

    def flag(self, key: str) -> FlagBuilder:
        """A builder that continues from the flag as it is, or from a new boolean one. It counts once :meth:`update` has it."""
        key = plain_key(key)
        return FlagBuilder(key, self._holder.snapshot.flags.get(key))

    def update(self, flag: FlagBuilder) -> None:
        """Puts the flag as built so far, targets and rules included, in place of the one with its key.

        Raises:
            ConfigTypeError: ``flag`` is not a builder, as :meth:`flag` returns one.
        """
        require("flag", flag, FlagBuilder, expected=WANTED)
        self._put(flag.key, lambda _, version: flag.definition(version))

    def _put(self, key: str, make: Callable[[FlagDefinition | None, int], FlagDefinition]) -> None:
        with self._lock:
            known = self._holder.snapshot.flags.get(key)
            version = known.version + 1 if known else 1
            self._apply(put(ObjectKind.FLAG, key, version, make(known, version)))

    def _apply(self, change: Change) -> None:
        change_set = ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), persist=False)
        before = self._holder.snapshot
        after = before.apply(change_set)
        self._holder.publish(after)
        if self._home is None or self._home is _running():
            self._feed.publish(before, after, change_set)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody follows any more
                self._home.call_soon_threadsafe(self._feed.publish, before, after, change_set)


def serving(key: str, value: Any, known: FlagDefinition | None, version: int = 1) -> FlagDefinition:
    """The flag that gives everybody ``value``: as one of its variations, if it is one; else as the only one."""
    if known is None:
        return value_flag(key, value, version)
    variations = tuple(known.variations or ())
    index = next((index for index, one in enumerate(variations) if same_json(one, value)), None)
    return msgspec.structs.replace(
        known,
        version=version,
        on=True,
        prerequisites=(),
        targets=(),
        context_targets=(),
        rules=(),
        variations=(value,) if index is None else variations,
        fallthrough=VariationOrRollout(variation=index or 0),
        off_variation=None if index is None else known.off_variation,
    )


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
