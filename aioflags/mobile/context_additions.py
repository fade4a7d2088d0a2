"""ContextAdditions: what a client adds to contexts before it uses them: keys of anonymous ones, attributes of the environment.

Source: ``client-side.md`` 5.2, I-4.
"""

from __future__ import annotations

import logging

from aioflags.mobile.anonymous_keys import AnonymousKeys
from aioflags.mobile.application import Application
from aioflags.mobile.environment_attributes import EnvironmentAttributes
from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.model.context import Context

__all__ = ["ContextAdditions"]


class ContextAdditions:
    """What one client adds to contexts.

    Args:
        keys: The keys of the device.
        replaces_keys: Anonymous contexts get a generated key even if they have one.
        adds_environment: Contexts get the kinds ``ld_application`` and ``ld_device``.
        application: What the program says of itself.
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
        self._anonymous_keys = AnonymousKeys(keys, replaces_all=replaces_keys)
        self._attributes = EnvironmentAttributes(keys, logger, configured=application) if adds_environment else None

    async def find_application(self) -> Application | None:
        """The application, for tags, if its attributes are added to contexts. Raises nothing."""
        if self._attributes is None:
            return None
        await self._attributes.load()
        return self._attributes.application

    async def complete(self, context: Context) -> Context:
        """The context as it is used: with generated keys and attributes. It may be invalid. Raises nothing."""
        context = await self._anonymous_keys.keyed(context)
        return context if self._attributes is None else await self._attributes.added(context)
