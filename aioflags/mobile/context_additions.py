"""ContextAdditions: what a client adds to contexts before it uses them: keys of anonymous ones, attributes of the environment.

Source: ``client-side.md`` 5.2, 5.5, I-4.
"""

from __future__ import annotations

import logging

from aioflags.mobile.application import Application
from aioflags.mobile.environment_attributes import EnvironmentAttributes
from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.model.context import Context

__all__ = ["ContextAdditions"]


class ContextAdditions:
    """What one client adds to contexts.

    Args:
        keys: The keys of the device, one for each anonymous kind.
        replaces_keys: Anonymous contexts get a generated key even if they have one.
        adds_environment: Contexts get the kinds ``ld_application`` and ``ld_device``.
        application: What the options of the client say about the program.
        logger: The client's logger.
    """

    def __init__(
        self,
        keys: GeneratedKeys,
        *,
        replaces_keys: bool,
        adds_environment: bool,
        application: Application,
        logger: logging.Logger,
    ) -> None:
        self._keys = keys
        self._replaces_keys = replaces_keys
        self._attributes = EnvironmentAttributes(keys, logger, configured=application) if adds_environment else None

    async def find_application(self) -> Application | None:
        """The application, for tags, if its attributes are added to contexts. Raises nothing."""
        if self._attributes is None:
            return None
        await self._attributes.load()
        return self._attributes.application

    def is_complete(self, context: Context) -> bool:
        """Whether :meth:`complete` changes nothing, because a valid context lacks nothing."""
        return context.is_valid and self._attributes is None and not any(self._needs_key(member) for member in context)

    async def complete(self, context: Context) -> Context:
        """The context with a key for each anonymous kind, and with attributes. Raises nothing.

        It stays invalid if anything else is wrong.
        """
        if any(self._needs_key(member) for member in _members(context)):
            context = Context.multi(*[await self._with_key(member) for member in _members(context)])
        return context if self._attributes is None else await self._attributes.add_to(context)

    def _needs_key(self, member: Context) -> bool:
        return member.anonymous and (self._replaces_keys or member.is_keyless)

    async def _with_key(self, member: Context) -> Context:
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


def _members(context: Context) -> tuple[Context, ...]:
    """The kinds of a context, also of one that lacks keys."""
    return context.unkeyed or ((context,) if context.is_keyless else tuple(context))
