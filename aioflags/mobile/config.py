"""MobileConfig: the options of a client for a mobile key.

Immutable, validated when it is created, and usable for several clients.

Source: ``client-side.md`` 1.1, 3.2, 3.3 and 5; ``client-surface.md`` 13.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Literal, cast

from aioflags.config.config import common_options, warn_of_addresses
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.events.options import MobileEvents
from aioflags.hooks import Hook
from aioflags.mobile.context_additions import Application
from aioflags.mobile.modes import ConnectionMode, ModeDefinition, ModeRules, mode_named
from aioflags.model.defaults import (
    CLOSE_TIMEOUT,
    MAX_CACHED_CONTEXTS,
    MAX_IDENTIFY_WAIT,
    MOBILE_BASE_URI,
    MOBILE_EVENTS_URI,
    MOBILE_STREAM_URI,
    MODE_DEBOUNCE,
    RECONNECT_DELAY,
    START_WAIT,
)
from aioflags.plugins import MobilePlugin
from aioflags.protocol.flag_documents import plain_json
from aioflags.runtime.logs import class_name
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import (
    Option,
    boolean,
    check_options,
    count,
    duration,
    instance,
    interval,
    one_of,
    optional,
    path,
    require,
    require_methods,
    set_all,
    text_or_none,
    warn_long_wait,
)
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.sources.fdv1 import Fdv1FallbackOptions
from aioflags.stores.storage import FileStorage, Storage
from aioflags.transport.settings import Http

MOBILE_ADDRESSES: Final = {"base_uri": MOBILE_BASE_URI, "stream_uri": MOBILE_STREAM_URI, "events_uri": MOBILE_EVENTS_URI}


class Profile(StrEnum):
    """What kind of program it is. It sets the defaults of the connection modes."""

    DESKTOP = "desktop"
    """A window on a computer: a stream."""
    MOBILE = "mobile"
    """A stream in the foreground, hourly polls in the background, offline without a network."""
    CLI = "cli"
    """A command that ends soon: the flags once."""
    IOT = "iot"
    """A device: a stream, offline without a network."""


_PROFILES: Final[Mapping[Profile, ModeRules]] = {
    Profile.DESKTOP: ModeRules(background=ConnectionMode.OFFLINE),
    Profile.MOBILE: ModeRules(follows_lifecycle=True, follows_network=True),
    Profile.CLI: ModeRules(foreground=ConnectionMode.ONE_SHOT, background=ConnectionMode.OFFLINE),
    Profile.IOT: ModeRules(follows_network=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileConfig:
    """Options of a client for a mobile key. Durations are in seconds.

    Args:
        base_uri: Serves polls; a path in it is kept, as in the next two.
        stream_uri: Serves streams.
        events_uri: Receives events.
        profile: The kind of program, which sets the defaults of the next two options.
        initial_connection_mode: The connection mode in the foreground.
        automatic_mode_switching: Whether the mode follows the life cycle and the network, as the program reports them: one answer
            for both, or a pair.
        modes: Other sources for some modes, such as ``{"streaming": ModeDefinition(…)}``.
        fdv1_fallback: How modes poll by FDv1 when the service directs the client off FDv2; ``None``: then flag updates stop. A
            :class:`ModeDefinition` can have its own.
        fdv1_fallback_recovery: With ``"ttl"`` FDv2 is tried again after the time that the service named.
        background_updating: Without it flags are not updated while the program is in the background.
        debounce: How long a change of life cycle, network or mode waits for a further one. 0: it takes effect at once.
        evaluation_reasons: The service sends the reason of each value.
        use_report: Requests have the context in their body. Otherwise it is in the URL, which proxies may log.
        secure_mode_hash: The proof for the first context. See :meth:`Client.secure_mode_hash`.
        generate_anonymous_keys: Anonymous contexts get a key of this device even if they have one.
        auto_env_attributes: Adds the kinds ``ld_application`` and ``ld_device`` to contexts.
        max_cached_contexts: Of how many contexts the storage keeps the flags. 0: of none.
        storage: Keeps flags and generated keys: a folder, or a :class:`Storage`; ``None``: they are lost when the program ends.
        bootstrap: Flags for the first context until the service answers, as :meth:`FlagsState.to_json_dict` makes them. A start
            does not wait for the service then.
        secondary_mobile_keys: The keys of further environments by a name. See :meth:`MobileClient.environment`.
        initial_reconnect_delay: Before the first reconnect of a stream.
        offline: The client starts offline. See :meth:`MobileClient.set_offline`.
        application_id: Identifies the program, in tags and in ``ld_application``; so do the next three.
        application_name: For people.
        application_version: The version of the program.
        application_version_name: For people.
        wrapper_name: Of a library that wraps this one.
        wrapper_version: Of a library that wraps this one.
        defaults: Values by flag key that replace a caller's default.
        hooks: Called around evaluations, and around changes of the context, in order.
        plugins: Add hooks, and get the client and its environments before they have data.
        logger: Receives the log.
        start_wait: How long a start waits for flags.
        close_timeout: How long a close may take.
        http: Options of connections.
        events: Options of events.

    Raises:
        ConfigError: an option has the wrong type or an invalid value.
    """

    base_uri: str = MOBILE_BASE_URI
    stream_uri: str = MOBILE_STREAM_URI
    events_uri: str = MOBILE_EVENTS_URI
    profile: Profile | Literal["desktop", "mobile", "cli", "iot"] = Profile.DESKTOP
    initial_connection_mode: ConnectionMode | str | None = None
    automatic_mode_switching: bool | tuple[bool, bool] | None = None
    modes: Mapping[str, ModeDefinition] = field(default_factory=dict[str, ModeDefinition])
    fdv1_fallback: Fdv1FallbackOptions | None = field(default_factory=Fdv1FallbackOptions)
    fdv1_fallback_recovery: Literal["never", "ttl"] = "never"
    background_updating: bool = True
    debounce: float = MODE_DEBOUNCE
    evaluation_reasons: bool = False
    use_report: bool = False
    secure_mode_hash: str | None = field(default=None, repr=False)
    generate_anonymous_keys: bool = False
    auto_env_attributes: bool = False
    max_cached_contexts: int = MAX_CACHED_CONTEXTS
    storage: Storage | str | os.PathLike[str] | None = None
    bootstrap: Mapping[str, object] | None = field(default=None, repr=False)
    secondary_mobile_keys: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    initial_reconnect_delay: float = RECONNECT_DELAY
    offline: bool = False
    application_id: str | None = None
    application_name: str | None = None
    application_version: str | None = None
    application_version_name: str | None = None
    wrapper_name: str | None = None
    wrapper_version: str | None = None
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    hooks: Sequence[Hook] = ()
    plugins: Sequence[MobilePlugin] = ()
    logger: logging.Logger = package_logger
    start_wait: float = START_WAIT
    close_timeout: float = CLOSE_TIMEOUT
    http: Http = field(default_factory=Http)
    events: MobileEvents = field(default_factory=MobileEvents)

    def __post_init__(self) -> None:
        check_options(self, OPTIONS)
        if isinstance(self.storage, str):
            set_all(self, {"storage": FileStorage(self.storage, logger=self.logger)})
        warn_of_addresses(self, MOBILE_ADDRESSES, self.logger)
        warn_long_wait("start_wait", self.start_wait, MAX_IDENTIFY_WAIT, self.logger)

    def for_secondary_key(self) -> MobileConfig:
        """These options for a further environment. What they warn about has been logged."""
        config = copy(self)
        set_all(config, {"secondary_mobile_keys": ReadOnlyMapping[str, str]({}), "secure_mode_hash": None, "bootstrap": None})
        return config

    @property
    def rules(self) -> ModeRules:
        """How life cycle, network and ``set_connection_mode`` decide about the mode."""
        rules = _PROFILES[Profile(self.profile)]
        if self.initial_connection_mode is not None:
            rules = replace(rules, foreground=ConnectionMode(self.initial_connection_mode))
        if self.automatic_mode_switching is not None:
            lifecycle, network = cast("tuple[bool, bool]", self.automatic_mode_switching)
            rules = replace(rules, follows_lifecycle=lifecycle, follows_network=network)
        return rules if self.background_updating else replace(rules, background=None)

    @property
    def definitions(self) -> Mapping[ConnectionMode, ModeDefinition]:
        """The option ``modes``."""
        return cast("Mapping[ConnectionMode, ModeDefinition]", self.modes)

    @property
    def device_storage(self) -> Storage | None:
        """The option ``storage``."""
        return cast("Storage | None", self.storage)

    @property
    def application(self) -> Application:
        """What the program says of itself."""
        return Application(
            id=self.application_id,
            name=self.application_name,
            version=self.application_version,
            version_name=self.application_version_name,
        )


def _profile(option: str, profile: object) -> Profile:
    return Profile(str(one_of(*(each.value for each in Profile))(option, require(option, profile, str))))


def _modes(option: str, modes: object) -> Mapping[ConnectionMode, ModeDefinition]:
    require(option, modes, Mapping, expected="a mapping of connection modes to definitions")
    made: dict[ConnectionMode, ModeDefinition] = {}
    for name, definition in cast("Mapping[object, object]", modes).items():
        mode = mode_named(option, name)
        made[mode] = cast("ModeDefinition", require(f"{option}[{mode.value!r}]", definition, ModeDefinition))
        if mode is ConnectionMode.OFFLINE and made[mode].makes_requests:
            raise ConfigError(f"{option}['offline']: expected no source that polls or streams, and no fdv1_fallback")
    return ReadOnlyMapping(made)


def _storage(option: str, storage: object) -> object:
    if isinstance(storage, str | os.PathLike):
        return path(option, cast("object", storage))
    require_methods(option, storage, Storage, "storage")
    return storage


def _bootstrap(option: str, flags: object) -> object:
    return plain_json(require(option, flags, Mapping, expected="a mapping of flag keys to values"), option)


def _secondary_keys(option: str, keys: object) -> Mapping[str, str]:
    require(option, keys, Mapping, expected="a mapping of names to mobile keys")
    made: dict[str, str] = {}
    for name, key in cast("Mapping[object, object]", keys).items():
        require(option, name, str, expected="names, which are strings")
        require(option, key, str, expected="mobile keys, which are strings")
        made[cast("str", name)] = cast("str", key)
    if "default" in made:
        raise ConfigError(f'{option}: the name "default" belongs to the environment of the client itself')
    if len(set(made.values())) < len(made):
        raise ConfigError(f"{option}: two names have the same key")
    return ReadOnlyMapping(made)


def _switching(option: str, switching: object) -> tuple[bool, bool]:
    given = class_name(switching)
    if isinstance(switching, bool):
        return switching, switching
    if isinstance(switching, tuple):
        pair = cast("tuple[object, ...]", switching)
        if len(pair) == 2 and all(isinstance(each, bool) for each in pair):
            return cast("tuple[bool, bool]", pair)
    expected = "expected True, False, or a pair of them for life cycle and network"
    raise ConfigTypeError(f"{option}: {expected}, got {given}")


OPTIONS: Final = (
    *common_options(MOBILE_ADDRESSES),
    Option("profile", _profile),
    Option("initial_connection_mode", optional(mode_named)),
    Option("automatic_mode_switching", optional(_switching)),
    Option("modes", _modes),
    Option("fdv1_fallback", instance(Fdv1FallbackOptions, type(None))),
    Option("fdv1_fallback_recovery", one_of("never", "ttl")),
    Option("background_updating", boolean),
    Option("debounce", duration),
    Option("evaluation_reasons", boolean),
    Option("use_report", boolean),
    Option("secure_mode_hash", text_or_none),
    Option("generate_anonymous_keys", boolean),
    Option("auto_env_attributes", boolean),
    Option("max_cached_contexts", count(0)),
    Option("storage", optional(_storage)),
    Option("bootstrap", optional(_bootstrap)),
    Option("secondary_mobile_keys", _secondary_keys),
    Option("initial_reconnect_delay", interval),
    Option("application_id", text_or_none),
    Option("application_name", text_or_none),
    Option("application_version", text_or_none),
    Option("application_version_name", text_or_none),
    Option("events", instance(MobileEvents)),
)
