"""MobileClient: flags for a program with one context at a time, which the service evaluates."""

# ruff: noqa: SLF001 -- the environments of a client are its own parts

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, TypeVar

import anyio

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.typed import required_context
from aioflags.config.config import MOBILE_KEYS, from_environment
from aioflags.errors import ConfigError, LifecycleError
from aioflags.mobile.config import OPTIONS, MobileConfig
from aioflags.mobile.context_change import ContextChange, GivenContext
from aioflags.mobile.environment import MobileEnvironment, WaitFor
from aioflags.mobile.modes import ConnectionMode, ModeSelector, mode_named
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_IDENTIFY_WAIT, START_WAIT
from aioflags.model.secret import SdkKey
from aioflags.model.status import DEFAULT_ENVIRONMENT, IdentifyResult, IdentifyStatus
from aioflags.runtime.event_loops import asyncio_loop, running_loop
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import one_of, require, time_limit

R = TypeVar("R")
_NOT_STARTED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client was not started")
_WORST_FIRST: Final = (IdentifyStatus.ERROR, IdentifyStatus.TIMEOUT, IdentifyStatus.SHED, IdentifyStatus.COMPLETED)


class MobileClient(MobileEnvironment):
    """Feature flags for one context at a time, with a mobile key: for desktop programs, commands and devices.

    ::

        async with MobileClient("mob-key", Context("anna")) as client:
            if client.variation("new-editor", False): ...
            await client.identify(Context("ben"))

    The service evaluates the flags for the context of the client, and the client keeps the values: :meth:`variation` never waits.
    :meth:`identify` changes the context. Creating a client opens nothing and needs no event loop. Start and close it with ``async
    with client``, ``await client`` or ``start``/``aclose``. Evaluations never raise because of data or the network: they return the
    default, and :meth:`variation_detail` has the reason. Calls that do not wait may be made from any thread; calls that wait, on
    the event loop that started the client.

    Raises:
        ConfigError: ``mobile_key`` is not a string, ``context`` not a :class:`Context`, ``config`` not a :class:`MobileConfig`, or
            a secondary key is the same as ``mobile_key``.
    """

    _warns_if_unclosed: ClassVar[bool] = True  # one warning for all environments

    def __init__(self, mobile_key: str, context: Context, config: MobileConfig | None = None) -> None:
        config = require("config", MobileConfig() if config is None else config, MobileConfig)
        require("mobile_key", mobile_key, str)
        context = required_context(context)
        if mobile_key in config.secondary_mobile_keys.values():
            raise ConfigError("secondary_mobile_keys: one of them is the key of the client itself")
        super().__init__(SdkKey(mobile_key), context, config)
        self._config = config
        secondary = config.for_secondary_key()
        self._secondary = {
            name: MobileEnvironment(SdkKey(key), context, secondary, name, keys=self._work.keys)
            for name, key in config.secondary_mobile_keys.items()
        }

    @classmethod
    def from_env(cls, context: Context, config: MobileConfig | None = None) -> MobileClient:
        """A client with the key and the options that environment variables set; ``config`` has the other options.

        ``LAUNCHDARKLY_MOBILE_KEY`` (or ``LD_MOBILE_KEY``), and the variables of :meth:`Client.from_env`, apart from its key and its
        override files.

        Raises:
            ConfigError: ``AIOFLAGS_OFFLINE`` has an unknown value, or an address is not a valid URL.
        """
        key, options = from_environment(OPTIONS, os.environ, MOBILE_KEYS)
        return cls(key, context, replace(MobileConfig() if config is None else config, **options))

    @property
    def _all(self) -> tuple[MobileEnvironment, ...]:
        # Not an attribute: a client that refers to itself is not collected, and not reported, when the program drops it.
        return (self, *self._secondary.values())

    def environment(self, name: str) -> MobileEnvironment:
        """The flags of a further environment, by its name in ``secondary_mobile_keys``; ``"default"`` is this client.

        It has the same context, and starts, closes and changes its mode with this client.

        Raises:
            ConfigError: no environment has this name.
        """
        environment = self if name == DEFAULT_ENVIRONMENT else self._secondary.get(name)
        if environment is None:
            raise ConfigError(
                f"environment: expected one of {', '.join(map(repr, (DEFAULT_ENVIRONMENT, *self._secondary)))}, got {name!r}"
            )
        return environment

    # -- life cycle

    async def start(self, start_wait: float | None = None, *, wait_for: WaitFor = "fresh") -> IdentifyResult:
        """Starts, and waits at most ``start_wait`` seconds for the flags of the context.

        A timeout does not raise: a warning is logged, and the client keeps trying. The default is the option ``start_wait``; with 0
        it does not wait. A start of a client that was started waits for the flags of the newest context.

        Args:
            start_wait: In seconds.
            wait_for: ``"fresh"`` waits for the service; for ``"cached"`` the flags that the storage kept are enough. Flags of
                the option ``bootstrap`` are always enough.

        Raises:
            LifecycleError: the client is closed, or was started on another event loop.
            ConfigError: ``start_wait`` is not a number of seconds, or ``wait_for`` is another word.
        """
        time_limit("start_wait", start_wait)
        asyncio_loop()
        accepts_cached = _accepts_cached(wait_for)
        for each in self._all:
            each._core.add_plugin_hooks()
        is_first = not self._core.lifecycle.is_started
        try:
            results = await _together(each._work.start(start_wait, accepts_cached=accepts_cached) for each in self._all)
        except BaseException:
            # Some environments may have started before the others were cancelled, or while one of them closed.
            if is_first and self._core.lifecycle.is_started:
                with anyio.CancelScope(shield=True):
                    await self.aclose()
            raise
        return self._worst(results)

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes everything within ``timeout`` seconds, by default ``close_timeout`` of the options. Idempotent.

        Evaluations continue to work afterwards, on the newest flags.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Earlier failures of the client raise nothing here.
        """
        caller = asyncio.current_task()
        await _together(each._core.lifecycle.aclose(timeout, caller=caller) for each in self._all)
        for each in self._all:
            each._work.early_events.closed()

    # -- the context

    async def identify(
        self,
        context: Context,
        *,
        timeout: float | None = START_WAIT,
        wait_for: WaitFor = "fresh",
        sheddable: bool = True,
        secure_mode_hash: str | None = None,
    ) -> IdentifyResult:
        """Changes the context, and waits for its flags. Never raises because of data or the network.

        Until they arrive, the flags that the storage kept for the context serve, otherwise defaults. Calls run one after another.

        Args:
            context: The new context. An invalid one changes nothing.
            timeout: How many seconds the call waits; ``None``: until the flags are there or cannot be had. Afterwards the client
                keeps trying.
            wait_for: ``"fresh"`` waits for the service; for ``"cached"`` the flags that the storage kept are enough.
            sheddable: While the call waits for its turn, a newer call replaces it.
            secure_mode_hash: The proof for this context; without it none is sent. It counts in the environment of ``mobile_key``.

        Raises:
            LifecycleError: the client runs on another event loop, or the stage ``before_identify`` of a hook awaits the call.
            ConfigError: an argument has the wrong type, or ``timeout`` is negative.
        """
        context = required_context(context)
        if (time_limit("timeout", timeout) or 0) < 0:
            raise ConfigError(f"timeout: expected 0 or more seconds, or None, got {timeout!r}")
        require("sheddable", sheddable, bool)
        require("secure_mode_hash", secure_mode_hash, str, type(None))
        accepts_cached = _accepts_cached(wait_for)
        if not self._core.lifecycle.is_started:
            return _NOT_STARTED
        self._core.lifecycle.check_loop()
        if any(each._work.switcher.queue.is_switching_here for each in self._all):
            raise LifecycleError("identify: before_identify would wait for itself; call identify in a task of your own")
        if timeout is not None and timeout > MAX_IDENTIFY_WAIT and self._core.once("timeout"):
            self._core.logger.warning("identify: %g s is long for an application to wait for its flags", timeout)
        # The proof belongs to one environment. Those of the secondary keys get none, as at the start.
        proofs = (secure_mode_hash, *(None for _ in self._secondary))
        changes = (
            ContextChange(
                given=GivenContext(context=context, secure_mode_hash=proof),
                timeout=timeout,
                accepts_cached=accepts_cached,
                is_sheddable=sheddable,
            )
            for proof in proofs
        )
        switches = (each._work.switcher.switch(change) for each, change in zip(self._all, changes, strict=True))
        return self._worst(await _together(switches))

    def _worst(self, results: Iterable[IdentifyResult]) -> IdentifyResult:
        """The result of all environments together, given in their order. Its error names the environment if it is a further one."""
        named = zip((DEFAULT_ENVIRONMENT, *self._secondary), results, strict=True)
        name, worst = min(named, key=lambda pair: _WORST_FIRST.index(pair[1].status))
        if name == DEFAULT_ENVIRONMENT or worst.error is None:
            return worst
        return replace(worst, error=f"environment {printable(name)}: {worst.error}")

    # -- connection modes

    async def set_connection_mode(self, mode: ConnectionMode | str | None) -> None:
        """Chooses the connection mode, whatever network and life cycle are; ``None``: they count again.

        Returns at once. The switch follows when no other change has come for the time of the option ``debounce``.

        Raises:
            ConfigError: no mode has this name. Nothing changes then.
            LifecycleError: the client runs on another event loop.
        """
        self._core.lifecycle.check_loop()
        wanted = None if mode is None else mode_named("mode", mode)
        self._change_modes(lambda modes: modes.note(replace(modes.facts, override=wanted)))

    def set_offline(self, offline: bool) -> None:  # noqa: FBT001 -- as in LaunchDarkly's SDKs
        """Goes offline or back, at once. Offline nothing is sent, and flags keep their values; pending events are sent before.

        Like the two calls below, it may be made from any thread, in a callback of the event loop and in a signal handler.

        Raises:
            ConfigError: ``offline`` is not a bool.
        """
        is_offline = require("offline", offline, bool)
        self._change_modes(lambda modes: modes.set_offline(is_offline=is_offline))

    def notify_lifecycle(self, state: Literal["foreground", "background"]) -> None:
        """Tells the client whether the program is used or in the background. Events are sent when it enters the background.

        Raises:
            ConfigError: ``state`` is another word.
        """
        one_of("foreground", "background")("state", state)
        self._change_modes(lambda modes: modes.note(replace(modes.facts, is_in_foreground=state == "foreground")))

    def notify_network(self, available: bool) -> None:  # noqa: FBT001 -- the one argument says all
        """Tells the client whether there is a network. Without one no events are sent.

        Raises:
            ConfigError: ``available`` is not a bool.
        """
        is_available = require("available", available, bool)
        self._change_modes(lambda modes: modes.note(replace(modes.facts, has_network=is_available)))

    def _change_modes(self, change: Callable[[ModeSelector], object]) -> None:
        """Changes what decides about the modes of all environments: at once, or on the event loop if another thread calls."""

        def run() -> None:
            for each in self._all:
                try:
                    change(each._work.modes)
                    each._work.update_sending()
                except Exception:
                    # The other environments must not stay online.
                    each._core.logger.exception("could not change the connection mode after an internal error (please report)")

        loop = self._core.lifecycle.loop
        is_here = loop is None or loop is running_loop()
        if is_here:
            run()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the client with it
                # If the change is made, this wakes the loop: a signal handler may have interrupted it while it waits for sockets.
                loop.call_soon_threadsafe((lambda: None) if is_here else run)

    # -- events

    def flush(self) -> None:
        """Requests that the events recorded so far are sent now. From any thread, without a wait.

        The event loop sends them afterwards: at the end of a program use :meth:`flush_and_wait`, or close the client.
        """
        for each in self._all:
            CoreClient.flush(each)

    async def flush_and_wait(self, timeout: float | None = None) -> bool:
        """Sends the events recorded so far, and waits for the end, at most ``timeout`` seconds; without a limit by default.

        Returns:
            Whether each of them has been sent or dropped in time. :attr:`stats` counts those that were dropped.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        return all(await asyncio.gather(*(CoreClient.flush_and_wait(each, timeout) for each in self._all)))


async def _together(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of all calls. The first one begins at once, in the calling task, before another task can run."""
    first, *others = calls
    rest = asyncio.gather(*others)
    try:
        return [await first, *await rest]
    except BaseException:
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
        raise


def _accepts_cached(wait_for: str) -> bool:
    return one_of("fresh", "cached")("wait_for", wait_for) == "cached"
