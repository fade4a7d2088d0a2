"""AnonymousKeys: gives anonymous contexts the keys of the device.

Source: ``client-side.md`` 5.5.
"""

from __future__ import annotations

from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.model.context import Context

__all__ = ["AnonymousKeys"]


class AnonymousKeys:
    """Keys for anonymous contexts, one for each kind. ``replaces_all``: also for those that have a key."""

    def __init__(self, keys: GeneratedKeys, *, replaces_all: bool) -> None:
        self._keys = keys
        self._replaces_all = replaces_all

    async def keyed(self, context: Context) -> Context:
        """The context with a key for each anonymous kind. It stays invalid if anything else is wrong. Raises nothing."""
        members = context.unkeyed or ((context,) if context.is_keyless else tuple(context))
        if not any(self._needs_key(member) for member in members):
            return context
        return Context.multi(*[await self._member(member) for member in members])

    def _needs_key(self, member: Context) -> bool:
        return member.anonymous and (self._replaces_all or member.is_keyless)

    async def _member(self, member: Context) -> Context:
        if not self._needs_key(member):
            return member
        return Context(
            await self._keys.get(f"anonKey_{member.kind}"),
            member.kind,
            name=member.name,
            anonymous=True,
            attributes=member.attributes,
            private=member.private,
        )
