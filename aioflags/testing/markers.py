"""Reads the markers of a test. An invalid marker fails its test with a message that names the marker."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

import pytest

from aioflags.errors import ConfigError
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.model.values import fresh
from aioflags.protocol.documents.document import plain_json
from aioflags.runtime.suggest import did_you_mean

__all__ = ["VARIATION", "check_strict", "marked_values", "variation_cases"]

VARIATION: Final = "_aioflags_variation"
"""The parameter that ``flag_variations`` adds to a test: a mapping of flag keys to values."""

_FLAGS: Final = 'for example @pytest.mark.flags({"new-checkout": True}), or @pytest.mark.flags(theme="dark")'
_VARIATIONS: Final = 'for example @pytest.mark.flag_variations("theme", values=["dark", "light"])'


def marked_values(item: pytest.Item) -> dict[str, Any]:
    """The values of the ``flags`` markers of a test, over those of its class and module, and of its ``flag_variations`` run."""
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
