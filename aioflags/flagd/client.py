"""FlagdClient: flags for an asyncio program, from flagd, from a file in flagd's format, or over OFREP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import Flags
from aioflags.client_core.observers import ClientIterator
from aioflags.client_core.readers import FlagChange, ValueChange
from aioflags.client_core.typed import plain_key
from aioflags.errors import ConfigError
from aioflags.flagd.config import FlagdConfig
from aioflags.model.context import Context
from aioflags.model.explanation import Explanation
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.flagd.modes import Mode


class FlagdClient(BaseClient):
    """Feature flags of flagd.

    ::

        async with FlagdClient(FlagdConfig(resolver="in-process")) as client:
            if await client.variation("new-checkout", Context("user-123"), False): ...

    Creating one opens nothing and needs no event loop. Start and close it with ``async with client``, ``await client`` or
    ``start``/``aclose``; a closed client can be started again, and then has no data at first. Evaluations never raise because of
    data or the network: they return the default, and ``variation_detail`` has the reason.

    With ``resolver="rpc"`` or ``"ofrep"`` the server evaluates. Calls that are not awaited then know only what the cache has.

    Raises:
        ConfigError: ``config`` is not a :class:`FlagdConfig`, or a package is missing that the resolver needs.
    """

    provider_name: ClassVar[str] = "flagd"
    has_kinds: ClassVar[bool] = False

    def __init__(self, config: FlagdConfig | None = None) -> None:
        # A program that imports this module may never make a client; so the first client imports what clients are made of.
        from aioflags.flagd.assembly import assemble  # noqa: PLC0415 - only a client needs it

        self._config = require("config", FlagdConfig() if config is None else config, FlagdConfig)
        super().__init__(assemble(self._config, self._mode()))

    def _mode(self) -> Mode:
        """Where flags come from, and who evaluates them."""
        from aioflags.flagd.modes import mode_of  # noqa: PLC0415 - only a client needs it

        return mode_of(self._config)

    @classmethod
    def local(cls, document: Mapping[str, object] | str | bytes, config: FlagdConfig | None = None) -> Self:
        """A client for a document in flagd's format: ``{"flags": {…}, "$evaluators": {…}, "metadata": {…}}``. It needs no network.

        It can be evaluated at once, also before the start. For a file that may change use ``FlagdConfig(resolver="file")``.

        Args:
            document: The document, as a mapping or as JSON text.
            config: The options. Of those only ``fractional_version``, ``hooks``, ``plugins``, ``logger`` and the times of start and
                close apply.

        Raises:
            ConfigError: the document is not a flag set. The message names the place.
        """
        # Few clients read documents.
        from aioflags.flagd.config import local_config  # noqa: PLC0415 - only a client needs it

        return cls(local_config(document, config))

    # -- evaluations that a server makes

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data, or can ask the server. Stays true through outages; with data also after closing."""
        return super().is_initialized if self._core.remote is None else self._core.remote.refusal is None

    async def flags(self, context: Context | None = None) -> Flags:
        """The flags for ``context``, pinned to the data of this moment: call it once a request, then evaluate with plain calls.

        If the server evaluates, one call fetches all flags.
        """
        if self._core.remote is None:
            return await super().flags(context)
        context = self._core.evaluator.context(context)
        return Flags(self._core.evaluator, await self._core.remote.all_flags(context), context)

    async def explain(self, key: str, context: Context | None = None) -> Explanation:
        """Explains step by step why flag ``key`` has its value for ``context``, with the age and origin of the data.

        If the server evaluates, it is asked, and its reason is the explanation. See :meth:`Client.explain`.
        """
        if self._core.remote is None:
            return await super().explain(key, context)
        key, context = plain_key(key), self._core.evaluator.context(context)
        return self._core.evaluator.explain(await self._core.remote.all_flags(context, key), key, context, None)

    def flags_nowait(self, context: Context | None = None) -> Flags:
        """:meth:`flags` as a plain call, from any thread.

        Raises:
            ConfigError: the server evaluates, so that the flags have to be fetched.
        """
        if self._core.remote is not None:
            raise ConfigError(f"flags_nowait: with resolver={self._config.resolver!r} the server evaluates; await client.flags()")
        return super().flags_nowait(context)

    @overload
    def changes(self) -> ClientIterator[FlagChange]: ...
    @overload
    def changes(self, key: str, context: Context | None = None) -> ClientIterator[ValueChange]: ...
    def changes(self, key: str | None = None, context: Context | None = None) -> ClientIterator[Any]:
        """The changes from this call on: of the configuration of every flag, or of the value of flag ``key`` for ``context``.

        See :meth:`Client.changes`. If the server evaluates, only the keys of flags are known: follow them, and evaluate again.

        Raises:
            ConfigError: ``key`` although the server evaluates; ``context`` without a ``key``; or a key that is not a string.
        """
        if key is not None and self._core.remote is not None:
            raise ConfigError(f"changes: with resolver={self._config.resolver!r} only changes() is possible: the server evaluates")
        return super().changes(key, context)  # type: ignore[arg-type] # the overloads have no key that may be None
