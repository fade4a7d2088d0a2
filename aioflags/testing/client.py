"""MemoryClient: a client whose flags the test sets, with immediate effect.

It can be evaluated without a start, from sync and async tests, and be passed to an application that starts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from aioflags.client.client import Client
from aioflags.client_core.typed import plain_key
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag import FlagDefinition, VariationOrRollout
from aioflags.model.source_state import SourceState
from aioflags.model.values import same_json
from aioflags.protocol.definitions import put, value_flag
from aioflags.protocol.documents.document import plain_json, read_document
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require
from aioflags.sources.flag_builder import WANTED, FlagBuilder

__all__ = ["MemoryClient", "serving"]


class MemoryClient(Client):
    """A :class:`Client` without SDK key and network, whose flags the test sets: ``flags.set("new-checkout", True)``.

    ``document`` has the format of LaunchDarkly's flag files, as in :meth:`Client.local`. The next evaluation in any thread or task
    sees a new value. Iterators over changes get it on the client's event loop.

    Raises:
        ConfigError: the document has a mistake.
    """

    # It has no connections to close, and a fixture cannot close a client that the application under test has started.
    _warns_if_unclosed: ClassVar[bool] = False

    def __init__(self, document: Mapping[str, object] | ChangeSet | None = None, config: Config | None = None) -> None:
        super().__init__("", replace(Config() if config is None else config, data_system=DataSystem()))
        self._lock = Lock()
        change_set = document if isinstance(document, ChangeSet) else read_document(document or {})
        self._holder.publish(self._holder.snapshot.apply(change_set))
        self._cell.report(SourceState.VALID)

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts from now on. Targets, rules and prerequisites of the flag are removed.

        Raises:
            ConfigError: ``value`` is not a JSON value, or ``key`` is not a string.
        """
        key = plain_key(key)
        plain = plain_json(value, key)
        self._put(key, lambda definition, version: serving(key, plain, definition, version))

    def remove(self, key: str) -> None:
        """Remove the flag, if it exists."""
        key = plain_key(key)
        with self._lock:
            if (definition := self._holder.snapshot.flags.get(key)) is not None:
                self._apply(Change(ObjectKind.FLAG, key, definition.version + 1, None))

    def flag(self, key: str) -> FlagBuilder:
        """A builder that starts from the current flag, or from a new boolean flag. Pass it to :meth:`update`."""
        key = plain_key(key)
        return FlagBuilder(key, self._holder.snapshot.flags.get(key))

    def update(self, flag: FlagBuilder) -> None:
        """Add the built flag, with its targets and rules, or replace the flag with its key.

        Raises:
            ConfigTypeError: ``flag`` is not a builder, as :meth:`flag` returns one.
        """
        require("flag", flag, FlagBuilder, expected=WANTED)
        self._put(flag.key, lambda _, version: flag.definition(version))

    def _put(self, key: str, make: Callable[[FlagDefinition | None, int], FlagDefinition]) -> None:
        with self._lock:
            definition = self._holder.snapshot.flags.get(key)
            version = definition.version + 1 if definition else 1
            self._apply(put(ObjectKind.FLAG, key, version, make(definition, version)))

    def _apply(self, change: Change) -> None:
        change_set = ChangeSet(kind=ChangeKind.CHANGES, changes=(change,), persist=False)
        before = self._holder.snapshot
        after = before.apply(change_set)
        self._holder.publish(after)
        self._cell.announce(before, after, change_set)


def serving(key: str, value: Any, definition: FlagDefinition | None, version: int = 1) -> FlagDefinition:
    """The flag that serves ``value`` to all contexts: as one of its variations if possible, otherwise as the only one."""
    if definition is None:
        return value_flag(key, value, version)
    variations = tuple(definition.variations or ())
    index = next((index for index, variation in enumerate(variations) if same_json(variation, value)), None)
    return msgspec.structs.replace(
        definition,
        version=version,
        on=True,
        prerequisites=(),
        targets=(),
        context_targets=(),
        rules=(),
        variations=(value,) if index is None else variations,
        fallthrough=VariationOrRollout(variation=index or 0),
        off_variation=None if index is None else definition.off_variation,
    )
