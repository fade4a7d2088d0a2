"""Overrides of tests: the markers, the values for every client of the process, and checks of declared flags.

:func:`overrides` is limited to a task; :class:`FlagOverrides` (the fixture ``flag_overrides``) is not. The reason of an overridden
value is ``OVERRIDE``. A flag with an overridden prerequisite is evaluated with the data of the prerequisite.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, NoReturn, cast

import pytest

from aioflags.client_core.overrides import OVERRIDES
from aioflags.client_core.typed import Flag, decoder_of
from aioflags.errors import ConfigError, ConfigTypeError, LifecycleError
from aioflags.evaluation.value_types import MISMATCH, expected_type, fit, mismatch
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.model.values import fresh, type_name
from aioflags.protocol.flag_documents import plain_json, read_flag_document, read_flag_documents
from aioflags.runtime.files import read_regular
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.suggest import did_you_mean

# -- Reads the markers of a test. An invalid marker fails its test with a message that names the marker.


VARIATION: Final = "_aioflags_variation"
"""The parameter that ``flag_variations`` adds to a test: a mapping of flag keys to values."""

_FLAGS: Final = 'for example @pytest.mark.flags({"new-checkout": True}), or @pytest.mark.flags(theme="dark")'
_VARIATIONS: Final = 'for example @pytest.mark.flag_variations("theme", values=["dark", "light"])'


def marked_values(item: pytest.Item) -> dict[str, Any]:
    """The values of the ``flags`` markers of a test, over its class's and module's, and over its ``flag_variations`` run's."""
    values: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("flags"))):
        values.update(_values(marker, item))
    chosen: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {}).get(VARIATION, {})
    if not chosen and item.get_closest_marker("flag_variations"):
        _refuse("flag_variations", item, "pytest cannot parametrize a unittest.TestCase or a doctest; use a function")
    values.update(fresh(chosen))
    return values


def _values(marker: pytest.Mark, item: pytest.Item) -> Mapping[str, Any]:
    if len(marker.args) > 1 or not all(isinstance(arg, Mapping) for arg in marker.args) or not (marker.args or marker.kwargs):
        _refuse("flags", item, f"expected a mapping of flag keys to values, or keywords; {_FLAGS}")
    mappings = cast("tuple[Mapping[Any, Any], ...]", marker.args)
    try:
        return cast("dict[str, Any]", plain_json({**(mappings[0] if mappings else {}), **marker.kwargs}))
    except ConfigError as mistake:
        _refuse("flags", item, f"{mistake}; {_FLAGS}")


def check_strict(item: pytest.Item) -> None:
    """Check that ``flags_strict`` has no arguments."""
    if any(marker.args or marker.kwargs for marker in item.iter_markers("flags_strict")):
        _refuse("flags_strict", item, "expected no arguments; values go to the marker flags")


def variation_cases(
    markers: Sequence[pytest.Mark], item: pytest.Item, definitions: Mapping[str, FlagDefinition | FlagdFlag]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The runs of a test with ``flag_variations`` markers: id and values of every combination."""
    keys = [_key(marker, item) for marker in markers]
    for key in keys:
        if keys.count(key) > 1:
            _refuse("flag_variations", item, f"the flag {key!r} is marked twice")
    choices = [_variations(key, marker, item, definitions) for key, marker in zip(keys, markers, strict=True)]
    for chosen in itertools.product(*(enumerate(values) for values in choices)):
        named = [f"{key}={_shown(index, value)}" for key, (index, value) in zip(keys, chosen, strict=True)]
        yield ",".join(named), {key: value for key, (_, value) in zip(keys, chosen, strict=True)}


def _key(marker: pytest.Mark, item: pytest.Item) -> str:
    if len(marker.args) != 1 or not isinstance(marker.args[0], str) or not marker.args[0] or set(marker.kwargs) - {"values"}:
        _refuse("flag_variations", item, f"expected the key of one flag, and its values if no file has them; {_VARIATIONS}")
    return marker.args[0]


def _variations(
    key: str, marker: pytest.Mark, item: pytest.Item, definitions: Mapping[str, FlagDefinition | FlagdFlag]
) -> list[Any]:
    if "values" not in marker.kwargs:
        if key not in definitions:
            reason = f"there is no flag {key!r} in a --flags-file{did_you_mean(key, definitions, before='; ')}"
            _refuse("flag_variations", item, f"{reason}; pass the file, or the values: {_VARIATIONS}")
        if not (variations := definitions[key].variations):
            _refuse("flag_variations", item, f"the flag {key!r} has no variations in its file")
        return list(variations)
    try:
        values = plain_json(marker.kwargs["values"], "values")
    except ConfigError as mistake:
        _refuse("flag_variations", item, f"{mistake}; {_VARIATIONS}")
    if not isinstance(values, list) or not values:
        _refuse("flag_variations", item, f"values: expected a list of at least one value; {_VARIATIONS}")
    return values


def _shown(index: int, value: object) -> str:
    """A value for the id of a test."""
    if isinstance(value, str):
        return value
    return f"#{index}" if isinstance(value, (list, dict)) else json.dumps(value)


def _refuse(name: str, item: pytest.Item, reason: str) -> NoReturn:
    pytest.fail(f"marker {name} of {item.nodeid}: {reason}", pytrace=False)


# -- Checks that declared flags exist in files or a document, with the declared type.


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


def overrides(values: Mapping[str, object] | None = None, /, **more: object) -> OverrideScope:
    """A block in which flags have these values, in the current task and the tasks that it starts.

    ``with overrides({"new-checkout": True}):`` applies to every client and every evaluation method. Other tasks are not affected.
    A thread is affected if it runs with the context of the task, as in ``asyncio.to_thread``. Blocks nest; the inner one wins.
    Keys that are Python names can be keywords: ``overrides(theme="dark")``.

    Raises:
        ConfigError: a value is not a JSON value.
    """
    return OverrideScope(checked(values, more))


class OverrideScope:
    """The block of :func:`overrides`. It cannot be a decorator, because it would not cover the run of a coroutine."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._block: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        if self._block is not None:
            raise LifecycleError("overrides: this block is already entered; call overrides() again for another block")
        self._block = OVERRIDES.in_task(self._values)
        self._block.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(kind, error, trace)


class FlagOverrides(ProcessBound, MutableMapping[str, Any]):
    """A mapping of flag keys to their values, on every client of the process, until the test ends.

    ``flag_overrides["new-checkout"] = True`` has immediate effect; ``del`` removes the override. Call it for a block:
    ``with flag_overrides(theme="dark"):``. Tests that run concurrently in one process share it; use :func:`overrides` there.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def __call__(self, values: Mapping[str, object] | None = None, /, **more: object) -> AbstractContextManager[None]:
        """A block with additional values. Raises :class:`ConfigError` if one is not a JSON value."""
        return self._block(checked(values, more))

    @contextmanager
    def _block(self, values: Mapping[str, Any]) -> Generator[None, None, None]:
        before = dict(self._values)
        self._values.update(values)
        try:
            yield
        finally:
            for key in values:
                self._values.pop(key, None)
            self._values.update({key: before[key] for key in values if key in before})

    @contextmanager
    def in_force(self) -> Generator[FlagOverrides, None, None]:
        """A block in which the mapping applies. Used by the fixture."""
        with OVERRIDES.everywhere(self._values):
            yield self

    def __setitem__(self, key: str, value: object) -> None:
        self._values.update(checked({key: value}, {}))

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<FlagOverrides {self._values!r}>"


def checked(values: Mapping[str, object] | None, more: Mapping[str, object]) -> dict[str, Any]:
    """A copy of the values. Raises :class:`ConfigError` if ``values`` is not a mapping, or a value is not a JSON value."""
    if not isinstance(cast("Any", values), Mapping | None):
        raise ConfigTypeError(f"expected a mapping of flag keys to values, or keywords, got {type_name(values)}")
    copy = plain_json({**(values or {}), **more})
    assert isinstance(copy, dict)  # noqa: S101 -- plain_json returns a dict for a mapping
    return copy
