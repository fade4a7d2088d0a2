"""Reads the texts of override files: which definitions they have, and the file of each.

This module does not open files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioflags.errors import ConfigError
from aioflags.evaluation.items import Item
from aioflags.evaluation.overrides import Overrides
from aioflags.file_overrides.options import OnDuplicate
from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.protocol.definitions import off_flag
from aioflags.protocol.documents.document import DocumentError, is_yaml, read_document
from aioflags.protocol.versions import Versions

__all__ = ["FileSet", "OverridesReader", "is_empty", "is_yaml_file", "read_file"]

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The overrides of all files together. ``files``: the file of each. ``versions`` differ if the overrides differ."""

    overrides: Overrides
    files: Mapping[Item, Path]
    versions: Mapping[Item, int]

    def is_same_as(self, other: FileSet) -> bool:
        """Whether both have the same overrides, from the same files."""
        return self.versions == other.versions and self.files == other.files


class OverridesReader:
    """Reads the override files again and again. A definition that changed gets a higher version, so that events tell them apart."""

    def __init__(self, on_duplicate: OnDuplicate) -> None:
        self._on_duplicate = on_duplicate
        self._versions = Versions()

    def read(self, texts: Iterable[tuple[Path, bytes]]) -> FileSet:
        """The overrides of all files. It blocks: call it in a thread.

        Raises:
            ConfigError: A file has a mistake; or two files have the same key, and that is not to be ignored; or PyYAML is missing.
        """
        changes: dict[Item, Change] = {}
        files: dict[Item, Path] = {}
        for path, text in texts:
            for change in read_file(text, str(path)).changes:
                item = (change.kind, change.key)
                if item not in files:
                    changes[item], files[item] = change, path
                elif self._on_duplicate == "fail":
                    raise DocumentError(f'{change.kind} "{change.key}" is in {files[item]}, too', file=str(path))
        counted = self._versions.counted(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes.values()), persist=False))
        versions = {(change.kind, change.key): change.version for change in counted.changes}
        return FileSet(overrides=Overrides.of(counted.changes), files=files, versions=versions)


def read_file(text: bytes, name: str) -> ChangeSet:
    """The definitions of one override file. An entry of ``flagValues`` becomes a flag that is off.

    A name that ends in ``.yaml`` or ``.yml`` means YAML, one that ends in ``.json`` JSON. Under any other name a text that begins
    with ``{`` is JSON. Raises :class:`ConfigError`.
    """
    if is_empty(text):
        raise DocumentError("the file is empty; {} overrides nothing", file=name)
    try:
        return read_document(text, name=name, as_yaml=is_yaml_file(text, name), flag_of_value=off_flag)
    except DocumentError:
        raise
    except ConfigError as missing:  # PyYAML
        raise ConfigError(f"{name}: {missing}") from None


def is_empty(text: bytes) -> bool:
    """Whether the file has no contents, or only spaces and line breaks."""
    return not text.removeprefix(_BOM).strip()


def is_yaml_file(text: bytes, name: str) -> bool:
    """Whether a file of this name with these contents is YAML: see :func:`read_file`."""
    if is_yaml(name) or name.lower().endswith(".json"):
        return is_yaml(name)
    return not is_empty(text) and not text.removeprefix(_BOM).lstrip().startswith(b"{")
