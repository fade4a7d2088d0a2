"""What a test session starts from: the flags of ``--flags-file`` and ``--flags``, and the values of a test's markers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from aioflags.errors import ConfigError
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.nesting import NestingError, check_depth
from aioflags.protocol.definitions import put
from aioflags.protocol.documents.document import plain_json, read_document
from aioflags.runtime.regular_files import read_regular
from aioflags.testing.client import serving

__all__ = ["SessionFlags", "given_of"]

_FILES: Final = "--flags-file"
_VALUES: Final = "--flags"


@dataclass(frozen=True, slots=True)
class SessionFlags:
    """Flags and segments of files, and values that outrank them."""

    documents: tuple[tuple[str, bytes], ...] = ()
    """Each file's name and text."""
    values: Mapping[str, Any] | None = None

    def with_values(self, values: Mapping[str, Any]) -> SessionFlags:
        """These values outrank those before."""
        return SessionFlags(self.documents, {**(self.values or {}), **values})

    @property
    def definitions(self) -> dict[str, FlagDefinition]:
        """The flags of the files, by key."""
        changes = (change for name, text in self.documents for change in read_document(text, name=name).changes)
        return {change.key: change.definition for change in changes if isinstance(change.definition, FlagDefinition)}

    def change_set(self) -> ChangeSet:
        """All of it, for a client."""
        changes = [change for name, text in self.documents for change in read_document(text, name=name).changes]
        found: dict[tuple[ObjectKind, str], Change] = {(change.kind, change.key): change for change in changes}
        for key, value in (self.values or {}).items():
            before = found.get((ObjectKind.FLAG, key))
            known = before.definition if before else None
            version = known.version if isinstance(known, FlagDefinition) else 1
            flag = serving(key, value, known if isinstance(known, FlagDefinition) else None, version)
            found[ObjectKind.FLAG, key] = put(ObjectKind.FLAG, key, version, flag)
        return ChangeSet(kind=ChangeKind.FULL, changes=tuple(found.values()), persist=False)


_GIVEN: Final = pytest.StashKey[SessionFlags]()


def given_of(config: pytest.Config) -> SessionFlags:
    """What the command line gives, read once.

    Raises:
        pytest.UsageError: a file cannot be read or has a mistake, or a value is not written as ``KEY=VALUE``.
    """
    if (known := config.stash.get(_GIVEN, None)) is not None:
        return known
    folder = config.invocation_params.dir
    files: list[str] = config.getoption(_FILES) or []
    values: list[str] = config.getoption(_VALUES) or []
    try:
        documents = tuple((name, read_regular(folder / name)) for name in files)
    except OSError as error:
        raise pytest.UsageError(f"{_FILES}: {error.filename}: {error.strerror or error}") from None
    try:
        for name, text in documents:
            read_document(text, name=name)
    except ConfigError as mistake:
        raise pytest.UsageError(f"{_FILES}: {mistake}") from None
    given = config.stash[_GIVEN] = SessionFlags(documents, dict(map(_pair, values)))
    return given


def _pair(text: str) -> tuple[str, Any]:
    """``new-checkout=true``: what comes after the first equals sign is JSON, or else a string as it stands."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise pytest.UsageError(f"{_VALUES} {text}: expected KEY=VALUE, for example {_VALUES} new-checkout=true")
    try:
        check_depth(value)
        return key, plain_json(json.loads(value))
    except (ConfigError, NestingError) as mistake:
        raise pytest.UsageError(f"{_VALUES} {text}: {mistake}") from None
    except ValueError:
        return key, value
