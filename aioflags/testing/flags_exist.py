"""Checks that declared flags exist in files or a document, with the declared type."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from aioflags.client_core.typed import Flag, decoder_of
from aioflags.evaluation.value_types import MISMATCH, expected_type, fit, mismatch
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.model.values import type_name
from aioflags.protocol.flag_documents import read_flag_document, read_flag_documents
from aioflags.runtime.regular_files import read_regular
from aioflags.runtime.suggest import did_you_mean

__all__ = ["assert_flags_exist"]


def assert_flags_exist(
    declared: ModuleType | Iterable[Flag[Any]], *files: str | os.PathLike[str], document: Mapping[str, object] | None = None
) -> None:
    """Assert that every declared flag is in the files (JSON, or YAML with its extra) or the document, with values of its type.

    Files and document have LaunchDarkly's format or flagd's.

    ``declared`` has typed flags, or is a module with typed flags. A test can be just
    ``assert_flags_exist(my_app.flags, "flags.json")``.

    Raises:
        AssertionError: a flag is missing, or can serve a value of another type. The message names all of them.
        ConfigError: a file has a mistake.
        OSError: a file cannot be read.
    """
    __tracebackhide__ = True
    flags = _flags(declared)
    if not flags:
        raise AssertionError("no flag is declared")
    change_set = read_flag_documents((str(file), read_regular(Path(file))) for file in files)
    changes = (*change_set.changes, *(read_flag_document(document).change_set.changes if document is not None else ()))
    definitions = {change.key: change.definition for change in changes if isinstance(change.definition, FlagDefinition | FlagdFlag)}
    where = ", ".join([*map(str, files), *(["the document"] if document is not None else [])])
    problems = [problem for flag in flags for problem in _problems(flag, definitions, where)]
    if problems:
        raise AssertionError("\n".join(problems))


def _flags(declared: ModuleType | Iterable[Flag[Any]]) -> Sequence[Flag[Any]]:
    names: Iterable[Any] = vars(declared).values() if isinstance(declared, ModuleType) else declared
    return [cast("Any", value) for value in names if isinstance(value, Flag)]


def _problems(flag: Flag[Any], definitions: Mapping[str, FlagDefinition | FlagdFlag], where: str) -> Iterator[str]:
    definition = definitions.get(flag)
    if definition is None:
        yield f"the flag {flag.key!r} is not in {where}{did_you_mean(flag, definitions, before='; ')}"
        return
    decoder = decoder_of(flag)
    expected = decoder or expected_type(flag.default)
    for value in definition.variations or ():
        if fit(value, expected) is MISMATCH:
            if decoder is None:
                declared = f"is declared with the default {flag.default!r}, a {type_name(flag.default)}, and "
                why = f"a {type_name(value)}"
            else:
                declared, why = "", mismatch(value, decoder)
            yield f"the flag {flag.key!r} {declared}can serve {value!r}, {why}"
            return
