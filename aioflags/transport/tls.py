"""TLS: the context of a client, with its certificates, and a probe of a server without a request.

The TLS context of a client: trusted certificates and the client certificate. It reads files: in a thread.

Every TLS context of this package is made here, for requests, for gRPC and for the checks of ``doctor``. The environment variables
of OpenSSL are read here too: one that cannot be used is named in a warning, and the client connects without it if it can.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import stat
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

import httpcore
import msgspec

from aioflags.errors import ConfigError
from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.runtime.files import check_regular, read_regular
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once, printable
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.peers import cause_of, root_cause
from aioflags.transport.resolver import DaemonResolver
from aioflags.transport.settings import Http

Warn: TypeAlias = Callable[[str], object]

_MAX_AGE: Final = 60.0
_TIMEOUT: Final = 30.0
"""Seconds that reading certificates may take: a network drive may not answer."""
_MAX_CERTIFICATES: Final = 16 * 1024 * 1024
"""Bytes. A larger file is not one of certificates."""
_FILE: Final = "SSL_CERT_FILE"
_FOLDERS: Final = "SSL_CERT_DIR"
_KEY_LOG: Final = "SSLKEYLOGFILE"
_GRPC_ROOTS: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""The names under which OpenSSL looks for certificates in a folder."""

_is_new = Once()


class TlsContext:
    """The TLS context for all connections of a client. It is made when the first address needs one, in ``thread``."""

    def __init__(self, settings: Http, logger: logging.Logger, thread: SerialThread) -> None:
        self._settings = settings
        self._logger = logger
        self._thread = thread
        self._made: ssl.SSLContext | None = None

    async def get(self, timeout: float = _TIMEOUT) -> ssl.SSLContext:
        """The context.

        Raises:
            ConfigError: a certificate cannot be read. The message has the name of the option, or of the variable.
            ThreadStartError: the system cannot start a thread.
            TimeoutError: certificates were not read within ``timeout`` seconds.
        """
        if self._made is None:
            try:
                return await self._thread.run(self._make, timeout=timeout)
            except TimeoutError as error:
                raise TimeoutError(f"certificates were not read within {timeout:g} s") from error
        return self._made

    def _make(self) -> ssl.SSLContext:
        if self._made is not None:  # an earlier call in the thread made it
            return self._made
        made = _made(self._settings)
        self._made = made.context
        for problem in made.problems:
            warn_once(self._logger, problem)
        if self._settings.disable_ssl_verification and self._settings.ssl_context is None:
            self._logger.warning("disable_ssl_verification: any server can impersonate the flag service")
        return made.context


def certificate_problems(settings: Http) -> tuple[str, ...]:
    """What is wrong with the environment variables that these settings read. Reads files: call it in a thread.

    Raises:
        ConfigError: a certificate cannot be read.
    """
    return _made(settings).problems


def warn_once(logger: logging.Logger, problem: str) -> None:
    """Log what is wrong with a variable, unless this logger has logged it before: every connection reads the variables."""
    if _is_new((logger.name, problem)):
        logger.warning("%s", problem)


def read_certificates(path: str) -> bytes:
    """The text of a PEM file with certificates.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file, or no file can have its path.
    """
    text = read_regular(Path(path), limit=_MAX_CERTIFICATES)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError("it is not a PEM file with certificates") from None
    return text


def root_certificates(warn: Warn) -> bytes | None:
    """The trusted certificates for gRPC, from its own variable or from ``SSL_CERT_FILE``; ``None`` for gRPC's own ones.

    ``warn`` gets what is wrong with these variables. gRPC does not read ``SSL_CERT_FILE``, and ends the process if its own variable
    is the path of a folder.

    Raises:
        ConfigError: gRPC's own variable cannot be used, nor can any others.
    """
    for variable in (_GRPC_ROOTS, _FILE):
        if path := os.environ.get(variable):
            try:
                return read_certificates(path)
            except (OSError, ValueError) as error:
                warn(_unusable(variable, path, error))
    if not (path := os.environ.get(_GRPC_ROOTS)):
        return None
    try:
        return Path(_bundle()).read_bytes()  # otherwise gRPC would read its variable
    except (OSError, ImportError) as error:
        raise ConfigError(f"{_unusable(_GRPC_ROOTS, path, error)}, but these cannot be read") from error


class _Made(msgspec.Struct, frozen=True):
    """A context, and what is wrong with the variables that it was made from."""

    context: ssl.SSLContext
    problems: tuple[str, ...] = ()


def _made(settings: Http) -> _Made:
    if settings.ssl_context is not None:
        return _Made(settings.ssl_context)
    if settings.ca_certs is None and settings.cert_file is None and not settings.disable_ssl_verification:
        return _SYSTEM.made()
    return _make(settings)


def _make(settings: Http) -> _Made:
    problems: list[str] = []
    # As ssl.create_default_context does it. That function fails if it cannot write SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    _log_keys(context, problems.append)
    if settings.ca_certs is None:
        _trust_system(context, problems.append)
    else:
        try:
            _load_file(context, settings.ca_certs)
        except (OSError, ValueError) as error:
            raise ConfigError(f"ca_certs: {settings.ca_certs} cannot be read: {error}") from error
    try:
        if settings.cert_file is not None:
            _check_file(settings.cert_file)
            context.load_cert_chain(settings.cert_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"cert_file: {settings.cert_file} cannot be read as a certificate with its key: {error}") from error
    if settings.disable_ssl_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return _Made(context, tuple(problems))


def _log_keys(context: ssl.SSLContext, warn: Warn) -> None:
    """Write the keys of connections to ``SSLKEYLOGFILE``, as Python does unless it ignores the environment."""
    path = os.environ.get(_KEY_LOG)
    if not path or sys.flags.ignore_environment or not hasattr(context, "keylog_filename"):
        return
    try:
        if Path(path).exists() and stat.S_ISFIFO(Path(path).stat().st_mode):
            raise ValueError("it is a FIFO, which waits for its reader")
        context.keylog_filename = path
    except (OSError, ValueError) as error:
        place, reason = printable(path), _reason(error)
        warn(f"{_KEY_LOG}: {place} cannot be written: {reason}; it is ignored")


def _trust_system(context: ssl.SSLContext, warn: Warn) -> None:
    """Trust the certificates of the variables of OpenSSL, and the system's in place of a variable that is not set.

    If a variable cannot be used, and the other one is not there to replace it, the certificates of the system and of certifi
    count. certifi's also count without others.
    """
    if sys.platform == "win32":
        context.load_default_certs()
    is_trusting = context.cert_store_stats()["x509_ca"] > 0
    paths, is_given, problems = ssl.get_default_verify_paths(), False, list[str]()
    replacements: list[Callable[[], None]] = []
    for variable, default, load in ((_FILE, paths.openssl_cafile, _load_file), (_FOLDERS, paths.openssl_capath, _load_folders)):
        given = os.environ.get(variable)
        try:
            load(context, given or default)
            is_trusting, is_given = True, is_given or bool(given)
        except (OSError, ValueError) as error:
            if given:  # many systems have one of the two defaults only
                problems.append(_unusable(variable, given, error))
                replacements.append(partial(load, context, default))
    if (problems and not is_given) or not is_trusting:
        for load_default in replacements:
            with suppress(OSError, ValueError):
                load_default()
                is_trusting = True
        try:
            _load_file(context, _bundle())
        except (OSError, ValueError, ImportError) as error:
            if not is_trusting:
                found = problems or ["ca_certs: the system has no certificates"]
                raise ConfigError(f"{'; '.join(found)}, but certifi's certificates cannot be read: {_reason(error)}") from error
    for problem in problems:
        warn(problem)


def _load_file(context: ssl.SSLContext, path: str | os.PathLike[str]) -> None:
    _check_file(path)
    context.load_verify_locations(cafile=path)


def _load_folders(context: ssl.SSLContext, paths: str) -> None:
    """Load certificates of folders, which OpenSSL reads when it needs one. Raises ``OSError`` or ``ValueError`` if none has any."""
    problem: Exception = ValueError("it has no certificates under the names that `openssl rehash` makes")
    for path in filter(None, paths.split(os.pathsep)):
        try:
            with os.scandir(path) as entries:
                if any(_HASHED.fullmatch(entry.name) for entry in entries):
                    context.load_verify_locations(capath=paths)
                    return
        except OSError as error:
            problem = error
    raise problem


def _check_file(path: str | os.PathLike[str]) -> None:
    """Raise ``OSError`` if the path is not a regular file. OpenSSL would open a FIFO, and wait for its writer."""
    check_regular(Path(path), Path(path).stat())


def _bundle() -> str:
    """The path of the certificates of certifi, which comes with httpx."""
    import certifi  # noqa: PLC0415 - few systems need it

    return certifi.where()


def _unusable(variable: str, path: str, error: Exception) -> str:
    place, reason = printable(path), _reason(error)
    return f"{variable}: {place} cannot be used: {reason}; without it the certificates of the system and of certifi count"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "it is not a PEM file with certificates"
    return printable((error.strerror if isinstance(error, OSError) else None) or error)


class _SystemContext:
    """The context with the certificates of the system. Clients share it: reading them takes some 20 ms each time.

    Two hundred clients that started together had two hundred threads read them, which held the event loop for seconds.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._context: Callable[[], ssl.SSLContext | None] = lambda: None
        self._problems: tuple[str, ...] = ()
        self._key: object = None
        self._made_at = 0.0

    def made(self) -> _Made:
        """A context that was made in the last minute and is in use, otherwise a new one. Certificates may change later."""
        with self._lock:
            key, context = [os.environ.get(name) for name in (_FILE, _FOLDERS, _KEY_LOG)], self._context()
            if context is None or key != self._key or perf_counter() - self._made_at > _MAX_AGE:
                made = _make(Http())
                context, self._problems = made.context, made.problems
                self._context, self._key, self._made_at = weakref.ref(context), key, perf_counter()
            return _Made(context, self._problems)


_SYSTEM: Final = _SystemContext()


# -- Probe a server without a request: is its name known, does it accept connections, how long is its certificate valid.
# Source: ``client-surface.md`` 10.


Stage = Literal["name", "connection", "tls", "plain"]

_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
)
"""OpenSSL's reasons for bytes that are not TLS. They differ between versions."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """The server answers. ``days_left``: how long its certificate is valid; ``None`` without TLS or verification."""

    days_left: float | None


class ProbeFailed(Exception):  # noqa: N818 - a result, not a mistake of the program
    """The server could not be reached. ``stage`` says what failed; ``plain``: it answered the TLS handshake with plain bytes."""

    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.stage = stage


async def probe(scheme: str, host: str, port: int, settings: Http, logger: logging.Logger = package_logger) -> Reached:
    """Connect as a client with these settings does without a proxy, and close the connection.

    Raises:
        ProbeFailed: the server could not be reached.
        ConfigError: a certificate of the settings cannot be read.
    """
    tls = TlsContext(settings, logger, SerialThread("aioflags-tls"))
    try:
        context = await tls.get(settings.connect_timeout) if scheme == "https" else None
    except (ThreadStartError, TimeoutError) as error:
        raise ProbeFailed("tls", str(error)) from error
    try:
        stream = await DaemonResolver().connect_tcp(host, port, settings.connect_timeout)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise ProbeFailed(
            "name" if str(error).startswith("no address of") else "connection", cause_of(error) or "no answer"
        ) from error
    try:
        if context is None:
            return Reached(days_left=None)
        stream = await stream.start_tls(context, host, settings.connect_timeout)
        return Reached(days_left=_days_left(stream.get_extra_info("ssl_object")))
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.NetworkError, httpcore.TimeoutException) as error:
        raise ProbeFailed("plain" if _is_not_tls(error) else "tls", cause_of(error) or "no answer") from error
    finally:
        await stream.aclose()


def _is_not_tls(error: BaseException) -> bool:
    """Whether the server sent bytes that are not TLS, as a server for plain HTTP does."""
    cause = root_cause(error)
    return isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS


def _days_left(tls: Any) -> float | None:
    """Days until the server's certificate expires; ``None`` if it was not verified."""
    certificate: dict[str, Any] = (tls.getpeercert() if isinstance(tls, (ssl.SSLObject, ssl.SSLSocket)) else None) or {}
    until = certificate.get("notAfter")
    return None if until is None else (ssl.cert_time_to_seconds(until) - now()) / 86400
