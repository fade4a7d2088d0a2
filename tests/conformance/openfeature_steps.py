"""Steps of OpenFeature's features: evaluations through ``openfeature-sdk``."""

from __future__ import annotations

import asyncio
import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext, EvaluationContextAttribute
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions
from openfeature.hook import Hook, HookContext, HookHints

from tests.conformance.evaluations import Details, Evaluations, Flag
from tests.conformance.steps import StepTable

__all__ = ["OPENFEATURE_STEPS", "ThroughSdk"]

METHODS: Final = {"Boolean": "boolean", "String": "string", "Integer": "integer", "Float": "float", "Object": "object"}
"""The word for a type in the names of the SDK's methods."""


class NotingHook(Hook):
    """Notes when it is called."""

    def __init__(self, name: str, calls: list[tuple[str, str]]) -> None:
        self._name, self._calls = name, calls

    def before(self, hook_context: HookContext, hints: HookHints) -> None:
        self._calls.append(("before", self._name))

    def after(self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints) -> None:
        self._calls.append(("after", self._name))


@dataclass(kw_only=True)
class ThroughSdk(Evaluations):
    """A case that evaluates flags with a client of the SDK."""

    sdk_client: OpenFeatureClient = field(init=False)
    options: FlagEvaluationOptions | None = None
    hook_calls: list[tuple[str, str]] = field(default_factory=list)
    context: EvaluationContext | None = None
    other_steps: int = 0

    @abstractmethod
    async def provide(self, kind: str) -> OpenFeatureClient:
        """Sets a provider in this state, and returns the SDK's client for it."""

    async def evaluate(self, flag: Flag) -> Details:
        return self.taken(self._method(flag)(flag.key, flag.default, self._context(), self.options))

    async def evaluate_awaited(self, flag: Flag) -> Details:
        """Evaluates the flag with the asynchronous method."""
        return self.taken(await self._method(flag, "_async")(flag.key, flag.default, self._context(), self.options))

    def _method(self, flag: Flag, suffix: str = "") -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.sdk_client, f"get_{METHODS[flag.kind]}_details{suffix}")
        return method

    def _context(self) -> EvaluationContext:
        return self.context or EvaluationContext(self.targeting_key, self.attributes)

    @staticmethod
    def taken(details: FlagEvaluationDetails[Any]) -> Details:
        """The SDK's details as those of every layer."""
        return Details(
            flag_key=details.flag_key,
            value=details.value,
            variant=details.variant,
            reason=details.reason,
            error_code=None if details.error_code is None else details.error_code.value,
            metadata=details.flag_metadata,
        )


async def a_provider(world: ThroughSdk, kind: str) -> None:
    world.sdk_client = await world.provide(kind)


def status_is(world: ThroughSdk, status: str) -> None:
    assert world.sdk_client.get_provider_status().value == status


async def evaluated_awaited(world: ThroughSdk) -> None:
    async def counts() -> None:
        while True:
            world.other_steps += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(counts())
        await asyncio.sleep(0)
        world.details = await world.evaluate_awaited(world.flag)
        counting.cancel()


def did_not_block(world: ThroughSdk) -> None:
    assert world.other_steps > 0


def some_hooks(world: ThroughSdk) -> None:
    world.options = FlagEvaluationOptions(hooks=[NotingHook(name, world.hook_calls) for name in ("first", "second")])


async def evaluated_with_options(world: ThroughSdk) -> None:
    world.details = await world.evaluate(world.flag)


def hooks_ran(world: ThroughSdk) -> None:
    assert {name for _, name in world.hook_calls} == {"first", "second"}


def hooks_ran_in_order(world: ThroughSdk) -> None:
    assert world.hook_calls == [("before", "first"), ("before", "second"), ("after", "second"), ("after", "first")]


MODIFIABLE: Final[Mapping[str, EvaluationContextAttribute]] = {"list": [1, 2], "object": {"inner": [3]}}


def a_modifiable_context(world: ThroughSdk) -> None:
    world.context = EvaluationContext("key", copy.deepcopy(dict(MODIFIABLE)))


def context_is_unmodified(world: ThroughSdk) -> None:
    assert world.context == EvaluationContext("key", MODIFIABLE)


OPENFEATURE_STEPS: Final[StepTable] = {
    "a {kind} provider": a_provider,
    'the provider status should be "{status}"': status_is,
    "the flag was evaluated with details asynchronously": evaluated_awaited,
    "the evaluation should complete without blocking": did_not_block,
    "evaluation options containing specific hooks": some_hooks,
    "the flag was evaluated with details using the evaluation options": evaluated_with_options,
    "the specified hooks should execute during evaluation": hooks_ran,
    "the hook order should be maintained": hooks_ran_in_order,
    "an evaluation context with modifiable data": a_modifiable_context,
    "the original evaluation context should remain unmodified": context_is_unmodified,
}
