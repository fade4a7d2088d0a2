"""FlagdConfig and LocalConfig: the options of a client for flagd, and of one whose flags are one document.

Immutable, checked when it is created, and usable for several clients. ``options.py`` reads and checks each option.

Source: ``flagd.md`` 1.2, 1.3 and 9.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, cast

from aioflags.errors import ConfigError
from aioflags.flagd.options import (
    OFREP_HEADERS,
    OPTIONS,
    PLAIN_OPTIONS,
    check_host,
    default_address,
    default_port,
)
from aioflags.hooks import Hook
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.context import Context
from aioflags.model.defaults import CLOSE_TIMEOUT
from aioflags.model.flagd import CacheKind, ContextEnricher, FatalCodesScope, FractionalVersion, Resolver, SyncMetadata
from aioflags.plugins import FlagdPlugin
from aioflags.protocol.requests import GivenHeaders
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import Option, check_options, require, set_all
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.transport.grpc_settings import CODES, ChannelCredentials, ClientInterceptor, GrpcSettings, read_target
from aioflags.transport.settings import Http

_NOT_GIVEN: Final[Any] = None
"""The environment variable of the option decides, then the default. ``options.py`` has both."""
_PREFIXES: Final = ("FLAGD_", "OFREP_")


class _Derived(NamedTuple):
    """The value of an option, and the argument that it was derived from; ``None``: not given."""

    value: object
    argument: object


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdConfig:
    """Options of a client for flagd. Durations are in seconds.

    An option that is not given, or ``None``, is taken from its environment variable, and otherwise has its default.

    Args:
        resolver: where flags are evaluated. ``rpc``: by the server, one call each. ``in-process``: here, with the flags that
            the server streams. ``file``: here, with the flags of ``offline_flag_source_path``. ``ofrep``: by a server that
            speaks OFREP over HTTP. ``in-process`` with an ``offline_flag_source_path`` becomes ``file``.
        host, port: the server. By default the port depends on the resolver: 8013 for ``rpc``, 8015 for ``in-process``.
        target_uri: replaces host and port: a name in gRPC's syntax, or ``envoy://host:port/authority``.
        socket_path: replaces host and port: a Unix socket, without TLS.
        tls, cert_path: encrypt the connection. ``cert_path`` is a PEM file with root certificates; without it the
            certificates of the environment count, otherwise gRPC's own.
        channel_credentials: replaces both, for example for mutual TLS.
        default_authority: the name that the server is asked for.
        deadline: the limit of one call, and of the start. 0: no limit.
        stream_deadline: after that time a stream is opened again. 0: never.
        retry_backoff, retry_backoff_max: the first and the longest wait before gRPC connects or calls again.
            ``retry_backoff_max`` is also the wait before a stream is opened again.
        retry_grace_period: how long the status stays ``STALE`` before it becomes ``ERROR``.
        keep_alive_time: the interval of HTTP/2 pings. 0: no pings. Servers refuse intervals below 30 s.
        selector: which flags, for example ``flagSetId=shop``.
        provider_id: identifies this client to the server that streams the flags.
        cache, max_cache_size: ``lru`` keeps that many answers of ``rpc`` for flags without rules; ``disabled`` keeps none.
        offline_flag_source_path, offline_poll_interval: the file, and how often it is checked for changes.
        context_enricher: gets the static context of the server, and returns the attributes that are added to every evaluation.
        fatal_status_codes: names of gRPC codes that end the client if a stream ends with one.
        fatal_codes_scope: ``first-connection``: only before the first stream was good. ``always``: at any time.
        sync_metadata: where the static context comes from. ``stream``: the stream, or one call if it has none. ``rpc``: a call
            before each stream. ``off``: only the stream.
        fractional_version: how ``fractional`` hashes, 2 or 3. With ``in-process`` it has to be the version of the server; a warning
            is logged if a rule needs it and it is not given.
        headers: headers of every request, as gRPC's metadata or in HTTP, or a function that returns them for each request. It must
            not block. Headers that describe the connection or the body are left out.
        max_message_bytes: the largest message that is accepted.
        interceptors: gRPC's interceptors for every call.
        ofrep_base_url: the address before ``/ofrep/v1``; by default port 8016 of ``host``.
        ofrep_timeout: the limit of one request.
        ofrep_context: one context for all evaluations. The server evaluates all flags for it at once; evaluations ignore theirs.
        ofrep_poll_interval: how often all flags are fetched for ``ofrep_context``. 0: at the start, and when the server's event
            stream asks for it.
        http: the network options for ``ofrep``.
        hooks: called around evaluations, in order.
        plugins: add hooks, and get the client before it has data.
        close_timeout: how long a close may take.
        environment: the variables that are read instead of the process's.

    ``port`` and ``ofrep_base_url`` stay ``None`` if they are not given, so that a copy with other options derives them again.
    ``server_port`` and ``ofrep_url`` have the values that are used.

    Raises:
        ConfigError: an option or a variable has the wrong type or an invalid value. The message names it.
    """

    resolver: Resolver = _NOT_GIVEN
    host: str = _NOT_GIVEN
    port: int | None = _NOT_GIVEN
    target_uri: str | None = _NOT_GIVEN
    tls: bool = _NOT_GIVEN
    socket_path: str | os.PathLike[str] | None = _NOT_GIVEN
    cert_path: str | os.PathLike[str] | None = _NOT_GIVEN
    channel_credentials: ChannelCredentials | None = field(default=None, repr=False)
    default_authority: str | None = _NOT_GIVEN
    deadline: float = _NOT_GIVEN
    stream_deadline: float = _NOT_GIVEN
    retry_backoff: float = _NOT_GIVEN
    retry_backoff_max: float = _NOT_GIVEN
    retry_grace_period: float = _NOT_GIVEN
    keep_alive_time: float = _NOT_GIVEN
    selector: str | None = _NOT_GIVEN
    provider_id: str | None = _NOT_GIVEN
    cache: CacheKind = _NOT_GIVEN
    max_cache_size: int = _NOT_GIVEN
    offline_flag_source_path: str | os.PathLike[str] | None = _NOT_GIVEN
    offline_poll_interval: float = _NOT_GIVEN
    context_enricher: ContextEnricher = _NOT_GIVEN
    fatal_status_codes: Sequence[str] = _NOT_GIVEN
    fatal_codes_scope: FatalCodesScope = _NOT_GIVEN
    sync_metadata: SyncMetadata = _NOT_GIVEN
    fractional_version: FractionalVersion = _NOT_GIVEN
    headers: GivenHeaders = field(default=_NOT_GIVEN, repr=False)
    max_message_bytes: int = _NOT_GIVEN
    interceptors: Sequence[ClientInterceptor] = field(default=(), repr=False)
    ofrep_base_url: str | None = _NOT_GIVEN
    ofrep_timeout: float = _NOT_GIVEN
    ofrep_poll_interval: float = _NOT_GIVEN
    ofrep_context: Context | None = None
    http: Http = field(default_factory=Http)
    hooks: Sequence[Hook] = ()
    plugins: Sequence[FlagdPlugin] = ()
    logger: logging.Logger = package_logger
    close_timeout: float = CLOSE_TIMEOUT
    environment: Mapping[str, str] = field(default=_NOT_GIVEN, repr=False, compare=False)
    _derived: Mapping[str, _Derived] = field(default_factory=dict[str, _Derived], repr=False, compare=False)
    """What each value was derived from. ``dataclasses.replace`` passes values on as arguments, together with this field: so the
    copy knows which of them were arguments, and derives the others again."""
    server_port: int = field(init=False)
    """The port of the server: ``port``, or what follows from the variables and the resolver."""
    ofrep_url: str = field(init=False)
    """The address before ``/ofrep/v1``: ``ofrep_base_url``, or what follows from ``host`` and ``tls``."""

    def __post_init__(self) -> None:
        check_options(self, PLAIN_OPTIONS)
        given = cast("Mapping[str, str] | None", self.environment)
        if self._derived and given is not self._derived["environment"].value:
            # Which of the other values are arguments of the copy cannot be told: one may equal the original's.
            raise ConfigError("environment: a copy keeps the variables of its original; make a new FlagdConfig")
        environment = os.environ if given is None else given
        # Only what the client reads is kept, for dataclasses.replace.
        set_all(self, {"environment": ReadOnlyMapping({k: v for k, v in environment.items() if k.startswith(_PREFIXES)})})
        arguments = {option.name: self._argument(option.name) for option in OPTIONS}
        set_all(self, {option.name: self._value(option, arguments[option.name]) for option in OPTIONS})
        self._settle_resolver()
        if self.resolver == "ofrep" and arguments["headers"] is None:
            headers = OFREP_HEADERS.variable(self.environment, self.logger)
            set_all(self, {"headers": self.headers if headers is None else headers})
        derived = {name: _Derived(getattr(self, name), argument) for name, argument in arguments.items()}
        derived["environment"] = _Derived(self.environment, None)
        set_all(self, {"_derived": ReadOnlyMapping(derived)})
        if self.ofrep_poll_interval and self.ofrep_context is None:
            raise ConfigError("ofrep_poll_interval: polls fetch the flags for one context; set ofrep_context, too")
        server_port = default_port(self.resolver, self.environment) if self.port is None else self.port
        ofrep_url = default_address(self.host, tls=self.tls) if self.ofrep_base_url is None else self.ofrep_base_url
        set_all(self, {"server_port": server_port, "ofrep_url": ofrep_url})
        if self._uses_host():
            check_host(self.host)
        if self.resolver in {"rpc", "in-process"}:
            self._check_channel()
        if unknown := [code for code in self.fatal_status_codes if code not in CODES]:
            self.logger.warning("fatal_status_codes: gRPC has no code %s", printable(", ".join(unknown)))

    @property
    def is_fractional_version_chosen(self) -> bool:
        """Whether an argument or the variable has the version of ``fractional``, so that it is not the default."""
        return self._derived["fractional_version"].argument is not None or bool(
            self.environment.get("FLAGD_FRACTIONAL_VERSION", "").strip()
        )

    @property
    def grpc(self) -> GrpcSettings:
        """What the gRPC channel of ``rpc`` and ``in-process`` needs."""
        return GrpcSettings(
            target=read_target(
                host=self.host, port=self.server_port, target_uri=self.target_uri, socket_path=_text(self.socket_path)
            ),
            tls=self.tls,
            cert_path=_text(self.cert_path),
            credentials=self.channel_credentials,
            authority=self.default_authority,
            selector=self.selector,
            deadline=self.deadline,
            retry_backoff=self.retry_backoff,
            retry_backoff_max=self.retry_backoff_max,
            keep_alive_time=self.keep_alive_time,
            max_message_bytes=self.max_message_bytes,
            interceptors=self.interceptors,
            headers=self.headers,
        )

    def _argument(self, name: str) -> object:
        """The argument for an option, also in a copy."""
        value = getattr(self, name)
        derived = self._derived.get(name)
        return derived.argument if derived is not None and value is derived.value else value

    def _value(self, option: Option, argument: object) -> object:
        """The argument for an option, or what its variable has, or its default."""
        if argument is not None:
            return option.argument(argument, self.logger)
        value = option.variable(self.environment, self.logger)
        return option.default if value is None else value

    def _settle_resolver(self) -> None:
        if self.resolver == "in-process" and self.offline_flag_source_path is not None:
            set_all(self, {"resolver": "file"})
        if self.resolver == "file" and not self.offline_flag_source_path:
            raise ConfigError("offline_flag_source_path: the resolver 'file' needs the path of a flag file")

    def _check_channel(self) -> None:
        target = self.grpc.target  # raises for a target that cannot be used
        # Whether the file is there shows when the channel opens: a config may be made on an event loop, which no disk may hold.
        if self.cert_path is not None and not self.tls and self.channel_credentials is None and not target.is_local:
            self.logger.warning("cert_path: not used, because tls is off; the connection is not encrypted")

    def _uses_host(self) -> bool:
        match self.resolver:
            case "ofrep":
                return self.ofrep_base_url is None
            case "file":
                return False
            case "rpc" | "in-process":
                return self.target_uri is None and self.socket_path is None


def _text(path: str | os.PathLike[str] | None) -> str | None:
    """A path as text: ``__post_init__`` made it that, which its type does not show."""
    return None if path is None else os.fspath(path)


# -- LocalConfig: the options of a client whose flags are one document.


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig(FlagdConfig):
    """Options with ``flags`` in place of a server. ``resolver`` does not matter."""

    flags: ChangeSet = field(default=ChangeSet(kind=ChangeKind.FULL), repr=False)


def local_config(document: Mapping[str, object] | str | bytes, config: FlagdConfig | None) -> LocalConfig:
    """The options of a client for this document. Those of ``config`` count, and otherwise the defaults without variables.

    Raises:
        ConfigError: the document is not a flag set, or an argument has another type.
    """
    # Other clients import this module, too, and read no documents.
    from aioflags.protocol.flag_documents import utf8  # noqa: PLC0415 - only this mode reads documents
    from aioflags.protocol.flagd import FlagSetError, read_flag_set  # noqa: PLC0415 - only this mode reads documents

    require("document", document, Mapping, str, bytes, expected="a mapping or JSON text")
    if isinstance(document, str) and not document.lstrip("\ufeff \t\r\n").startswith("{"):
        expected = "expected a mapping or JSON text; for a file use FlagdConfig(resolver='file', offline_flag_source_path=…)"
        raise ConfigError(f"document: {expected}, got {printable(document)!r:.100}")
    try:
        flags = run_at_once(read_flag_set(document if isinstance(document, Mapping) else utf8(document, "document")))
    except FlagSetError as error:
        raise ConfigError(f"document: {error}") from error
    config = FlagdConfig(environment={}) if config is None else require("config", config, FlagdConfig)
    return LocalConfig(**{option.name: getattr(config, option.name) for option in fields(FlagdConfig) if option.init}, flags=flags)
