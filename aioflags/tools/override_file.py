"""OverrideFile: an override file that a program edits: values set, overrides removed, and the new text.

This module does not open files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from aioflags.errors import ConfigError
from aioflags.file_overrides.reader import is_empty, is_yaml_file, read_file
from aioflags.model.values import JsonValue, same_json
from aioflags.protocol.documents.document import DocumentError, decoded, joined
from aioflags.protocol.documents.yaml_writer import yaml_text

Section = Literal["flagValues", "flags", "segments"]

_SECTIONS: Final[tuple[Section, ...]] = ("flagValues", "flags", "segments")


@dataclass(frozen=True, slots=True)
class Entry:
    """One override: its section, its key, and its value or its definition as JSON."""

    section: Section
    key: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class OverrideFile:
    """The contents of an override file: sections by name, each with its entries by key.

    ``has_comments``: the text that was read may have comments, which :meth:`text` does not have.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    is_yaml: bool = False
    has_comments: bool = False

    @classmethod
    def read(cls, text: bytes | None, name: str, *, may_be_empty: bool = True) -> Self:
        """The contents of a file; of none yet if ``text`` is ``None`` or empty.

        ``may_be_empty``: an edit replaces a file that is empty. To clients it is a mistake.

        Raises:
            ConfigError: the file has a mistake, or is YAML and PyYAML is missing.
        """
        is_yaml = is_yaml_file(text or b"", name)
        if text is None or (may_be_empty and is_empty(text)):
            return cls(name, {}, is_yaml)
        read_file(text, name)
        document: Any = decoded(text, name, as_yaml=True) if is_yaml else json.loads(text.decode("utf-8-sig"))
        sections = {section: entries for section, entries in document.items() if entries is not None}
        return cls(name, sections, is_yaml, has_comments=is_yaml and b"#" in text)

    def entries(self) -> Iterator[Entry]:
        """All overrides, by section."""
        for section in _SECTIONS:
            for key, value in self.sections.get(section, {}).items():
                yield Entry(section, key, value)

    def with_values(self, values: Mapping[str, JsonValue]) -> Self:
        """The file with these values of flags, besides the others.

        Raises:
            DocumentError: the file has a full definition of such a flag, which a value would have to replace.
        """
        for key in values:
            if key in self.sections.get("flags", {}):
                raise DocumentError(
                    "the flag has a full definition here; clear it first", file=self.name, path=joined("flags", key)
                )
        return self._with_sections({**self.sections, "flagValues": {**self.sections.get("flagValues", {}), **values}})

    def without(self, keys: Iterable[str] | None = None) -> Self:
        """The file without the overrides with these keys, in all sections; by default without any."""
        if keys is None:
            return self._with_sections({})
        removed = set(keys)
        return self._with_sections(
            {
                section: {key: value for key, value in entries.items() if key not in removed}
                for section, entries in self.sections.items()
            }
        )

    def text(self) -> bytes:
        """The file as text. It is read again before it is returned: a file that another program relies on must not break.

        Raises:
            ConfigError: it cannot be read; or it is YAML, and PyYAML is missing.
        """
        document: dict[str, JsonValue] = {section: dict(entries) for section, entries in self.sections.items() if entries}
        if self.is_yaml and document:
            text = yaml_text(document).encode()
        else:
            text = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        if not same_json(OverrideFile.read(text, self.name).sections, document):
            raise ConfigError(f"{self.name}: the new contents cannot be written (please report)")
        return text

    def _with_sections(self, sections: Mapping[str, Mapping[str, Any]]) -> Self:
        return type(self)(self.name, sections, self.is_yaml, self.has_comments)
