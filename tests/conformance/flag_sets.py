"""Flag sets of the conformance data: what flagd serves to the feature files, in flagd's format."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from tests.conformance.features import DIRECTORY

__all__ = [
    "ALL_FLAGS",
    "CONFIGS",
    "INJECTED",
    "evaluator_flags",
    "flag_set",
    "in_memory_flags",
    "source",
    "sources_of",
    "toggled",
]

ALL_FLAGS: Final = "flags/allFlags.json"

CONFIGS: Final = {"stable": "default", "metadata": "metadata", "syncpayload": "sync-payload"}
"""The configuration of the server for each kind of provider."""

INJECTED: Final[Mapping[str, Any]] = {"injectedmetadata": "set"}
"""The static context of the server."""


def _read(*path: str) -> Any:
    return json.loads(DIRECTORY.joinpath(*path).read_text("utf-8"))


def evaluator_flags() -> Any:
    """The flag set of the evaluator's features."""
    return _read("evaluator", "flags", "testkit-flags.json")


def source(uri: str) -> dict[str, Any]:
    """The document of one source. ``flags/allFlags.json`` is all files except those about selectors."""
    path = PurePosixPath(uri)
    if path.name != "allFlags.json":
        return dict(_read("provider", "flags", path.name))
    merged: dict[str, Any] = {"flags": {}, "$evaluators": {}}
    for file in sorted((DIRECTORY / "provider" / "flags").glob("*.json")):
        if not file.name.startswith("selector"):
            document = _read("provider", "flags", file.name)
            assert not document.get("metadata"), "the metadata of a flag set would be lost"
            for member, content in merged.items():
                content |= document.get(member, {})
    return merged


def sources_of(config: str) -> list[str]:
    """The sources of a server with this configuration. The last one wins."""
    return [each["uri"] for each in _read("provider", "configs", f"{config}.json")["sources"]]


def toggled(flag: Mapping[str, Any]) -> dict[str, Any]:
    """The changing flag with the other default variant."""
    return {**flag, "defaultVariant": {"foo": "bar", "bar": "foo"}[flag["defaultVariant"]]}


def flag_set(config: str = "default", selector: str | None = None) -> dict[str, Any]:
    """What a server with this configuration serves: the source that is selected, or all of its sources.

    Of sources with the same flag, the later one counts. A source's metadata is part of its flags if there are several sources.
    """
    documents = [source(uri) for uri in sources_of(config) if _is_selected(uri, selector)]
    if len(documents) == 1:
        return documents[0]
    merged: dict[str, Any] = {"flags": {}, "$evaluators": {}}
    for document in documents:
        merged["$evaluators"] |= document.get("$evaluators", {})
        for key, flag in document["flags"].items():
            merged["flags"][key] = {**flag, "metadata": {**document.get("metadata", {}), **flag.get("metadata", {})}}
    return merged


def _is_selected(uri: str, selector: str | None) -> bool:
    if selector is None:
        return True
    name, separator, value = selector.partition("=")
    if not separator:
        name, value = "source", selector
    if name == "source":
        return value == uri
    assert name == "flagSetId", selector
    return bool(source(uri).get("metadata", {}).get("flagSetId", "") == value)


_EMAIL: Final = {"==": [{"var": "email"}, "ballmer@macrosoft.com"]}
_EXPRESSIONS: Final[Mapping[str, Any]] = {
    "email == 'ballmer@macrosoft.com' ? 'zero' : ''": {"if": [_EMAIL, "zero", None]},
    "!customer && email == 'ballmer@macrosoft.com' && age > 10 ? 'internal' : ''": {
        "if": [{"and": [{"!": {"var": "customer"}}, _EMAIL, {">": [{"var": "age"}, 10]}]}, "internal", None]
    },
}
"""The rules of OpenFeature's flags, from CEL."""


def in_memory_flags() -> dict[str, Any]:
    """OpenFeature's flags for an in-memory provider, in flagd's format."""
    return {"flags": {key: _from_memory(flag) for key, flag in _read("openfeature", "test-flags.json").items()}}


def _from_memory(flag: Mapping[str, Any]) -> dict[str, Any]:
    assert flag.keys() <= {"variants", "defaultVariant", "disabled", "flagMetadata", "contextEvaluator"}, flag
    expression = flag.get("contextEvaluator")
    return {
        "state": "DISABLED" if flag.get("disabled") else "ENABLED",
        "variants": flag["variants"],
        "defaultVariant": flag.get("defaultVariant"),
        "targeting": copy.deepcopy(_EXPRESSIONS[expression]) if expression else {},
        "metadata": flag.get("flagMetadata") or {},
    }
