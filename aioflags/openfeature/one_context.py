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

from aioflags.evaluation.openfeature.launchdarkly import NO_KEY
from aioflags.model.context import Context
from aioflags.openfeature.contexts import converter

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

    from aioflags.mobile.environment import MobileEnvironment
    from aioflags.model.detail import EvaluationDetail

__all__ = ["OneContext", "OtherContextError"]


class OtherContextError(Exception):
    """A call is for another context than that of the client. The message says so in words, without the keys."""


class OneContext:
    """The calls of a provider for ``client``. It has the signatures of a client whose evaluations take a context."""

    def __init__(self, client: MobileEnvironment) -> None:
        self._client = client
        self._convert = converter(has_kinds=True)
        self._accepted: tuple[Context, Context] | None = None
        """The last context of a call with a targeting key, and the client's context that has that key."""

    def context(self, given: EvaluationContext | None) -> Context:
        """The context of the client.

        Raises:
            OtherContextError: ``given`` is another one, or cannot be used.
        """
        active = self._client.context
        asked = self._convert(given)
        if asked is NO_KEY:
            return active
        accepted = self._accepted
        if accepted is not None and accepted[0] is asked and accepted[1] is active:
            return active
        if asked.error is not None:
            raise OtherContextError(asked.error)
        if not _keys(asked).items() <= _keys(active).items():
            raise OtherContextError("the client has the flags of another context; await its identify() first")
        self._accepted = asked, active
        return active

    def detail(self, key: str, _: Context, default: Any, *, expect: type) -> EvaluationDetail[Any]:
        """The value of a flag with its reason."""
        detail: EvaluationDetail[Any] = self._client.variation_detail(key, default, expect=expect)
        return detail

    async def detail_awaited(self, key: str, context: Context, default: Any, *, expect: type) -> EvaluationDetail[Any]:
        """:meth:`detail`, which never waits."""
        return self.detail(key, context, default, expect=expect)

    def track(self, name: str, given: EvaluationContext | None, data: object, value: float | None) -> None:
        """Records an event of the client's context.

        Raises:
            OtherContextError: as for :meth:`context`.
        """
        self.context(given)
        self._client.track(name, data, value)


def _keys(context: Context) -> Mapping[str, str]:
    """The keys of a context by kind."""
    if context.members is None:
        return {context.kind: context.key}
    return {kind: member.key for kind, member in context.members.items()}
