"""Audience: which client-side SDKs may see a flag, as LaunchDarkly's service decides it.

Source: ``evaluation.md`` 2.1.
"""

from __future__ import annotations

from enum import StrEnum

from aioflags.model.flag import FlagDefinition


class Audience(StrEnum):
    """The client-side SDKs by their kind of credential: a mobile key, or a client-side id."""

    MOBILE = "mobile"
    JAVASCRIPT = "JavaScript"

    def sees(self, flag: FlagDefinition) -> bool:
        """Whether these SDKs get the flag."""
        return flag.is_mobile_visible if self is Audience.MOBILE else flag.is_client_visible
