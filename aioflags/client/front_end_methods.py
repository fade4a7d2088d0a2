"""FrontEndMethods: the methods of :class:`Client <aioflags.client.client.Client>` for SDKs in front ends."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from aioflags.client_core.evaluation_methods import EvaluationMethods
from aioflags.client_core.flags import FlagsState
from aioflags.model.context import Context

if TYPE_CHECKING:
    from aioflags.model.secret import SdkKey

__all__ = ["FrontEndMethods"]


class FrontEndMethods(EvaluationMethods):
    """What a front end needs from a client. :class:`Client <aioflags.client.client.Client>` inherits it."""

    if TYPE_CHECKING:
        _key: SdkKey

    async def all_flags_state(
        self,
        context: Context | None = None,
        *,
        client_side_only: bool = False,
        with_reasons: bool = False,
        details_only_for_tracked_flags: bool = False,
    ) -> FlagsState:
        """The values of all flags with the metadata that front-end SDKs need (``to_json_dict`` bootstraps one).

        Not valid, and empty: offline, without data, or for an invalid context. Flags that were never evaluated are compiled first.
        Both are done in slices that let other tasks run.

        Args:
            context: The context to evaluate for; by default the ambient one.
            client_side_only: Leaves out flags that front ends may not see.
            with_reasons: Adds the reason of each value.
            details_only_for_tracked_flags: Leaves out metadata that is not needed to send events.
        """
        snapshot = await self._newest()
        await self._evaluator.compile_all(snapshot)
        context = self._evaluator.context(context)
        states = await self._evaluator.states(
            snapshot,
            context,
            client_side_only=client_side_only,
            with_reasons=with_reasons,
            details_only_for_tracked_flags=details_only_for_tracked_flags,
            memberships=await self._evaluator.prefetch(snapshot, context),
        )
        return FlagsState(states)

    def secure_mode_hash(self, context: Context | None = None) -> str:
        """The hash that a front-end SDK in secure mode sends for ``context``: hex HMAC-SHA256 of its canonical key and the SDK key.

        Empty, with a warning, for an invalid context. Works offline and before the start.
        """
        if (context := self._evaluator.usable_context("secure_mode_hash", context)) is None:
            return ""
        return hmac.new(self._key.value.encode(), context.canonical_key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
