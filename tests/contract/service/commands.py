"""The commands of the harness: their names, their parameters, and how one is run for a client of the service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from aioflags import Context
from tests.contract.service.contexts import (
    ContextBuildParams,
    ContextComparisonPairParams,
    ContextConvertParams,
    build,
    compare,
    convert,
)
from tests.contract.service.service_params import Params


class CommandError(Exception):
    """The command is unknown or invalid."""


class OperationError(Exception):
    """The command is valid, and the client could not do it."""


@dataclass(frozen=True, slots=True)
class Command:
    """``run`` gets the entity and the decoded parameters, and returns the answer; ``None`` for an empty one."""

    params: type[Params]
    run: Callable[[Any, Any], Awaitable[Any]]


class Entity(ABC):
    """A client that the harness has created."""

    @abstractmethod
    async def start(self) -> str | None:
        """Starts the client, and waits for its flags. Returns why it has none; ``None`` if it has them."""

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the client, and what belongs to it."""


class ContextParams(Params):
    """The context of a command, or its legacy user."""

    context: dict[str, Any] | None = None
    user: dict[str, Any] | None = None

    def subject(self) -> Context:
        """The context of the command."""
        return Context.from_legacy_user(self.user) if self.user is not None else Context.from_dict(self.context or {})


class EvaluateFlagParams(ContextParams, kw_only=True):
    flag_key: str
    value_type: Literal["bool", "int", "double", "string", "any"] | None = None
    default_value: Any = None
    detail: bool | None = None

    def default(self) -> Any:
        """The default, converted to the value type: JSON does not distinguish 3 from 3.0."""
        convert = {"int": int, "double": float}.get(self.value_type or "any")
        return self.default_value if convert is None or self.default_value is None else convert(self.default_value)

    @property
    def is_typed(self) -> bool:
        """Whether the value has the type of the default. Otherwise it may have any type, whatever the default is."""
        return self.value_type not in {"any", None}

    @property
    def method(self) -> str:
        """The name of the method, for hooks."""
        return "variation_detail" if self.detail else "variation"


class CustomEventParams(ContextParams, kw_only=True):
    event_key: str
    data: Any = None
    metric_value: float | None = None


async def _context_build(_: Entity, params: ContextBuildParams) -> dict[str, str]:
    return build(params)


async def _context_convert(_: Entity, params: ContextConvertParams) -> dict[str, str]:
    return convert(params)


async def _context_comparison(_: Entity, params: ContextComparisonPairParams) -> dict[str, bool]:
    return compare(params)


CONTEXT_COMMANDS: Final = {
    "contextBuild": Command(ContextBuildParams, _context_build),
    "contextConvert": Command(ContextConvertParams, _context_convert),
    "contextComparison": Command(ContextComparisonPairParams, _context_comparison),
}
"""The commands that need no client."""


async def run_command(commands: Mapping[str, Command], entity: Entity, body: bytes) -> Any:
    """Run the command in ``body``, and return its answer; ``None`` if it has no answer.

    Raises:
        CommandError, msgspec.DecodeError: it is not a command, or its parameters are wrong.
        OperationError: the client could not do it.
    """
    properties = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    name = msgspec.json.decode(properties.get("command", b"null"), type=str)
    command = commands.get(name)
    if command is None:
        raise CommandError(f"there is no command {name!r}")
    # A command without parameters has only its name, or null.
    params = properties.get(name, msgspec.Raw(b"null"))
    return await command.run(entity, msgspec.json.decode(b"{}" if bytes(params) == b"null" else params, type=command.params))
