"""Steps about one flag, a context, and the details of an evaluation. Every layer of tests has them.

A layer makes a world of :class:`Evaluations` that evaluates its own way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aioflags.model.values import same_json
from tests.conformance.steps import StepTable
from tests.conformance.values import converted

__all__ = ["EVALUATION_STEPS", "Details", "Evaluations", "Flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What a case asks for: the flag, its type by the name in the feature file, and the caller's default."""

    kind: str
    key: str
    default: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The outcome of an evaluation, the same for every layer. What is absent is ``None``."""

    flag_key: str
    value: Any
    variant: str | None
    reason: str | None
    error_code: str | None
    metadata: Mapping[str, Any]


@dataclass(kw_only=True)
class Evaluations(ABC):
    """A case's flag, context and details. Reading the flag or the details before a step sets them raises ``AttributeError``."""

    flag: Flag = field(init=False)
    targeting_key: Any = None
    """Text, nothing, or a value that a feature file puts in its place."""
    attributes: dict[str, Any] = field(default_factory=dict)
    details: Details = field(init=False)

    @abstractmethod
    async def evaluate(self, flag: Flag) -> Details:
        """Evaluates the flag for the context."""


def a_flag(world: Evaluations, kind: str, key: str, default: str) -> None:
    world.flag = Flag(kind=kind, key=key, default=converted(default, kind))


def an_attribute(world: Evaluations, key: str, kind: str, value: str) -> None:
    attribute = converted(value, kind)
    if key == "targetingKey":
        world.targeting_key = attribute
    else:
        world.attributes[key] = attribute


def a_null_attribute(world: Evaluations, key: str) -> None:
    world.attributes[key] = None


def a_targeting_key(world: Evaluations, value: str) -> None:
    world.targeting_key = value


def a_nested_attribute(world: Evaluations, outer: str, inner: str, value: str) -> None:
    world.attributes[outer] = {inner: value}


async def evaluated(world: Evaluations) -> None:
    world.details = await world.evaluate(world.flag)


def value_is(world: Evaluations, value: str) -> None:
    expected = converted(value, world.flag.kind)
    assert same_json(world.details.value, expected), (world.details, expected)


def reason_is(world: Evaluations, reason: str) -> None:
    assert world.details.reason == (reason or None), world.details


def variant_is(world: Evaluations, variant: str) -> None:
    assert world.details.variant == (variant or None), world.details


def key_is(world: Evaluations, key: str) -> None:
    assert world.details.flag_key == key


def code_is(world: Evaluations, code: str) -> None:
    assert world.details.error_code == (code or None), world.details


def metadata_contains(world: Evaluations, rows: tuple[tuple[str, ...], ...]) -> None:
    head, *table = rows
    assert head == ("key", "metadata_type", "value")
    expected = {key: converted(value, kind) for key, kind, value in table}
    metadata = world.details.metadata
    assert same_json({key: metadata[key] for key in expected if key in metadata}, expected), metadata


def metadata_is_empty(world: Evaluations) -> None:
    assert dict(world.details.metadata) == {}


EVALUATION_STEPS: Final[StepTable] = {
    'a {kind}-flag with key "{key}" and a default value "{default}"': a_flag,
    'a {kind}-flag with key "{key}" and a fallback value "{default}"': a_flag,
    'a context containing a key "{key}", with type "{kind}" and with value "{value}"': an_attribute,
    'a context containing a key "{key}" with null value': a_null_attribute,
    'a context containing a targeting key with value "{value}"': a_targeting_key,
    'a context containing a nested property with outer key "{outer}" and inner key "{inner}", with value "{value}"': (
        a_nested_attribute
    ),
    "the flag was evaluated with details": evaluated,
    'the resolved details value should be "{value}"': value_is,
    'the reason should be "{reason}"': reason_is,
    'the variant should be "{variant}"': variant_is,
    'the flag key should be "{key}"': key_is,
    'the error-code should be "{code}"': code_is,
    "the resolved metadata should contain": metadata_contains,
    "the resolved metadata is empty": metadata_is_empty,
}
