"""OneContext: a client for a mobile key, which has the flags of one context, behind OpenFeature's calls for any context.

A call for another context than that of the client is refused: the flags of one user must not decide for another. A call without a
targeting key is for the context of the client. Attributes of a call do not count: the service evaluated the flags with those of the
client's context.

Source: ``openfeature.md`` 6.3.
"""

# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aioflags.client_core.flags import Flags
from aioflags.client_core.parts import internals_of, record_tracked
from aioflags.evaluation.openfeature.launchdarkly import NO_KEY
from aioflags.model.context import Context
from aioflags.openfeature.contexts import converter

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.mobile.environment import MobileEnvironment
    from aioflags.model.detail import EvaluationDetail

__all__ = ["OneContext", "OtherContextError"]


class OtherContextError(Exception):
    """A call is for another context than that of the client. The message says so in words, without the keys."""


class OneContext:
    """The calls of a provider for ``client``, from any thread.

    Each call reads the data of the client once: the context that it is checked against is that of the flags that it gets.
    """

    def __init__(self, client: MobileEnvironment) -> None:
        internals = internals_of(client)
        self._client = client
        self._holder, self._evaluator = internals.holder, internals.evaluator
        self._convert = converter(has_kinds=True)
        self._accepted: tuple[Snapshot, Context, Flags] | None = None
        """The last data, the context of a call that they answer, and the flags for it."""

    def flags(self, given: EvaluationContext | None) -> Flags:
        """The flags of the client.

        Raises:
            OtherContextError: ``given`` is another context than that of the flags, or cannot be used.
        """
        return self._checked(given)[2]

    def _checked(self, given: EvaluationContext | None) -> tuple[Snapshot, Context, Flags]:
        snapshot = self._holder.snapshot
        asked, accepted = self._convert(given), self._accepted
        if accepted is not None and accepted[0] is snapshot and accepted[1] is asked:
            return accepted
        active = snapshot.evaluated_for or self._client.context
        if asked is not NO_KEY:
            if asked.error is not None:
                raise OtherContextError(asked.error)
            if not _keys(asked).items() <= _keys(active).items():
                raise OtherContextError("the client has the flags of another context; await its identify() first")
        self._accepted = accepted = snapshot, asked, Flags(self._evaluator, snapshot, active)
        return accepted

    def detail(self, key: str, flags: Flags, default: Any, *, expect: type) -> EvaluationDetail[Any]:
        """The value of a flag with its reason."""
        detail: EvaluationDetail[Any] = flags.variation_detail(key, default, expect=expect)
        return detail

    async def detail_awaited(self, key: str, flags: Flags, default: Any, *, expect: type) -> EvaluationDetail[Any]:
        """:meth:`detail`, which never waits."""
        return self.detail(key, flags, default, expect=expect)

    def track(self, name: str, given: EvaluationContext | None, data: object, value: float | None) -> None:
        """Records an event of the client's context.

        Raises:
            OtherContextError: as for :meth:`flags`.
        """
        active = self._checked(given)[0].evaluated_for
        if active is None:
            self._client.track(name, data, value)  # which keeps it until the first context is active
        else:
            record_tracked(self._client, name, active, data, value)


def _keys(context: Context) -> Mapping[str, str]:
    """The keys of a context by kind."""
    if context.members is None:
        return {context.kind: context.key}
    return {kind: member.key for kind, member in context.members.items()}
