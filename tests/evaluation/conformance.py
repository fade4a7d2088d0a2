"""Cross-SDK evaluation data: suites as text with placeholders, expanded and read into snapshots.

The files lie beside the project and are never copied into it; their README describes the format.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from tests.evaluation.data import snapshot_of

__all__ = ["DIRECTORY", "REASON", "Case", "Suite", "cases", "expand", "suites", "wanted_type"]

DIRECTORY: Final = Path(__file__).parents[3] / "shared" / "conformance" / "evaluation"
REASON: Final = f"the conformance data is not there: {Path('..', 'shared', 'conformance')} beside the project"


class _Loader(yaml.CSafeLoader):  # of PyYAML's two safe loaders the faster one
    """YAML 1.2's core schema: ``on`` is a string, and so is a date."""


def _core_schema() -> None:
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


_core_schema()


@dataclass(frozen=True)
class Suite:
    """One expansion of one file."""

    stem: str
    data: Mapping[str, Any]

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """Its flags and segments, as they would arrive."""
        data = self.data["sdkData"]
        flags, segments = (list(_completed(data.get(noun) or {})) for noun in ("flags", "segments"))
        return snapshot_of(*flags, segments=segments)


@dataclass(frozen=True)
class Case:
    """One evaluation, and what is expected of it."""

    suite: Suite
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Where the case stands."""
        name = self.data.get("name", self.data["flagKey"])
        return f"{self.suite.stem}: {self.suite.data['name']}: {name}"

    @property
    def contexts(self) -> list[Context]:
        """The context, in each JSON form."""
        data = self.data["context"]
        if "kind" not in data:
            return [Context.from_legacy_user(data)]
        legacy = _as_legacy_user(data)
        return [Context.from_dict(data), *([Context.from_legacy_user(legacy)] if legacy else [])]


def _completed(definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, definition in definitions.items():
        yield {**definition, "key": key, "version": definition.get("version") or 1}


def _as_legacy_user(data: Mapping[str, Any]) -> dict[str, Any] | None:
    if data["kind"] != "user":
        return None
    properties = {name: data[name] for name in ("key", "name", "anonymous") if name in data}
    return {**properties, "custom": {name: data[name] for name in data.keys() - properties.keys() - {"kind", "_meta"}}}


def expand(text: str) -> Iterator[dict[str, Any]]:
    """The suites that a file's text stands for."""
    head = yaml.load(text, _Loader)
    constants = head.get("constants") or {}
    for parameters in _parameter_sets(head.get("parameters") or []):
        expanded = text
        for values in (constants, parameters, constants):
            expanded = _substituted(expanded, values)
        suite = yaml.load(expanded, _Loader)
        yield {name: value for name, value in suite.items() if name not in {"constants", "parameters"}}


def _parameter_sets(parameters: Sequence[Any]) -> list[dict[str, Any]]:
    if not parameters:
        return [{}]
    if isinstance(parameters[0], Mapping):
        return list(parameters)
    # The first list varies fastest: the other way round than in a product.
    products = itertools.product(*reversed(parameters))
    return [{name: value for one in reversed(product) for name, value in one.items()} for product in products]


def _substituted(text: str, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        text = text.replace(f'"<{name}>"', compact)
        text = text.replace(f"<{name}>", value if isinstance(value, str) else compact)
    return text


@functools.cache
def suites() -> tuple[Suite, ...]:
    """All suites; none if the data is not there."""
    return tuple(Suite(path.stem, data) for path in sorted(DIRECTORY.glob("*.yml")) for data in expand(path.read_text("utf-8")))


@functools.cache
def cases() -> tuple[Case, ...]:
    """All evaluations of all suites."""
    return tuple(Case(suite, data) for suite in suites() for data in suite.data["evaluations"])


def wanted_type(case: Mapping[str, Any]) -> type:
    """The type that a case asks for, given by name or by the default."""
    named = {"bool": bool, "int": int, "double": float, "string": str, "any": object}
    if "valueType" in case:
        return named[case["valueType"]]
    default = case.get("default")
    return default.__class__ if isinstance(default, (bool, int, float, str)) else object
