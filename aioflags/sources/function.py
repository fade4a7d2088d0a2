"""from_function: a custom source, written as an async generator function.

Source: ``architecture.md`` 12.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from aioflags.errors import ConfigTypeError
from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.result import Basis, FetchFailure, Result, Update
from aioflags.model.source_state import SourceState
from aioflags.protocol.failures import server_failure
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require
from aioflags.sources.base import SourceBuilder, SourceContext

__all__ = ["from_function"]

Function: TypeAlias = Callable[[SourceContext, Callable[[], Selector]], AsyncGenerator[Result, None]]


def from_function(name: str, function: Function) -> SourceBuilder:
    """A builder of sources that run ``function(context, selector)``, as an initializer or as a synchronizer.

    As a synchronizer the function yields an ``Update`` for each change; as an initializer it yields a ``Basis`` or a
    ``FetchFailure``. Results of the other role are converted. The function is called for every run, and closed at its end. It has
    to reconnect and to limit its waits itself; an exception that it raises removes the source.

    Args:
        name: the name of the source in the log and in the status.
        function: gets ``context``, with the client's HTTP settings, URIs, headers, poll interval and logger, and ``selector``,
            which returns the selector of the newest data.

    Raises:
        ConfigError: ``name`` is not a string, or ``function`` cannot be called.
    """
    require("name", name, str)
    if not callable(function):
        raise ConfigTypeError(f"function: expected an async generator function, got {class_name(function)}")
    return _Builder(name, function)


@dataclass(frozen=True, slots=True)
class _Builder:
    name: str
    function: Function

    def build(self, context: SourceContext, /) -> _FunctionSource:
        return _FunctionSource(self.name, self.function, context)


class _FunctionSource:
    def __init__(self, name: str, function: Function, context: SourceContext) -> None:
        self.name = name
        self._function = function
        self._context = context

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        async with aclosing(self._function(self._context, selector)) as results:
            async for result in results:
                yield _as_initializer_result(result)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        async with aclosing(self._function(self._context, selector)) as results:
            async for result in results:
                yield _as_update(result)


def _as_initializer_result(result: Result) -> Basis | FetchFailure:
    """The result as an initializer yields it."""
    match result:
        case Basis() | FetchFailure():
            return result
        case Update(state=SourceState.VALID):
            change_set = result.change_set or ChangeSet.unchanged()
            return Basis(change_set=change_set, directive=result.directive, environment_id=result.environment_id)
        case Update():
            error = result.error or server_failure("the source gave no reason")
            return FetchFailure(error=error, directive=result.directive)
        case _:
            raise _unexpected_type(result)


def _as_update(result: Result) -> Update:
    """The result as a synchronizer yields it."""
    match result:
        case Update():
            return result
        case Basis():
            change_set = None if result.change_set.kind is ChangeKind.NONE else result.change_set
            return Update(
                state=SourceState.VALID,
                directive=result.directive,
                change_set=change_set,
                environment_id=result.environment_id,
            )
        case FetchFailure():
            return Update(state=SourceState.INTERRUPTED, directive=result.directive, error=result.error)
        case _:
            raise _unexpected_type(result)


def _unexpected_type(result: object) -> TypeError:
    return TypeError(f"a source yields Basis, FetchFailure or Update, not {class_name(result)}")
