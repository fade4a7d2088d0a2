"""URLs of LaunchDarkly's endpoints with their queries, the headers that identify the client, and those that a program adds.

Source: ``data-system.md`` 1.1 to 1.4; ``client-surface.md`` 8, 9 and 12; ``flagd.md`` 9.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, cast
from urllib.parse import quote

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.secret import SdkKey
from aioflags.runtime.logs import Once, class_name
from aioflags.runtime.validation import require, text_or_none
from aioflags.runtime.version import __version__

PRODUCT: Final = "AioFlags"
USER_AGENT: Final = f"{PRODUCT}/{__version__}"
MOBILE_PRODUCT: Final = "aioflags-client"
MOBILE_USER_AGENT: Final = f"{MOBILE_PRODUCT}/{__version__}"

INSTANCE_ID: Final = "X-LaunchDarkly-Instance-Id"
FLAGD_SELECTOR: Final = "flagd-selector"
"""The header that selects flags of flagd: of gRPC calls, and of OFREP."""

_TAG: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")


def endpoint(base: str, path: str, query: Mapping[str, str]) -> str:
    """``path`` below the path of ``base``, with the parameters that have a value."""
    # Concatenated, because urljoin would drop the path of the base.
    parameters = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
    return f"{base.rstrip('/')}{path}{'?' if parameters else ''}{parameters}"


class Headers(dict[str, str]):
    """Headers by name. The repr omits the values, because one of them is the SDK key."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


def identity_headers(
    sdk_key: SdkKey,
    *,
    instance_id: str,
    user_agent: str = USER_AGENT,
    application: Mapping[str, object] = MappingProxyType({}),
    wrapper_name: str | None = None,
    wrapper_version: str | None = None,
    logger: logging.Logger,
) -> Headers:
    """The headers of every request of a client. Only ``Authorization`` contains the key.

    ``application``: the values for :func:`application_tags`.

    A value of the application that is invalid is omitted with a warning, which does not show it.

    Raises:
        ConfigError: The wrapper has characters that a header cannot contain.
    """
    name, version = header_text("wrapper_name", wrapper_name), header_text("wrapper_version", wrapper_version)
    headers = {
        "Authorization": sdk_key.value,
        "User-Agent": user_agent,
        INSTANCE_ID: instance_id,
        "X-LaunchDarkly-Wrapper": f"{name}/{version}" if name and version else name,
    }
    return Headers({**{header: text for header, text in headers.items() if text}, **application_tags(application, logger)})


def application_tags(values: Mapping[str, object], logger: logging.Logger) -> dict[str, str]:
    """The header with the tags of an application, by option name. A value that is invalid is omitted with a warning."""
    tags = [f"{option.replace('_', '-')}/{tag}" for option, value in values.items() if (tag := _tag(option, value, logger))]
    return {"X-LaunchDarkly-Tags": " ".join(tags)} if tags else {}


def in_address(host: str) -> str:
    """``host`` as an address has it before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def header_text(option: str, text: str | None) -> str:
    """``text`` if a header can contain it; empty for ``None``. Raises :class:`ConfigError` otherwise."""
    if text and not _SENDABLE.fullmatch(text):
        raise ConfigError(f"{option}: only printable ASCII characters can be sent in a header")
    return text or ""


def check_header(option: str, value: object) -> str | None:
    """The check of an option that is sent in a header: text for :func:`header_text`, or ``None``."""
    text = cast("str | None", text_or_none(option, value))
    header_text(option, text)
    return text


def usable_tag(value: object) -> str | None:
    """An application id or version if it is valid, otherwise ``None``."""
    return value if isinstance(value, str) and _TAG.fullmatch(value) else None


def _tag(option: str, value: object, logger: logging.Logger) -> str:
    tag = usable_tag(value)
    if tag is None and value not in (None, ""):
        logger.warning("%s: not sent, expected 1 to 64 of the characters A-Z a-z 0-9 . _ -", option)
    return tag or ""


# -- The headers that a program adds to its requests: to those of OFREP, and, as metadata, to gRPC's.


GivenHeaders: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""The headers by name, or a function that returns them for each request."""

_HEADER_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)", re.IGNORECASE)
"""The names that HTTP and gRPC share. gRPC keeps ``grpc-`` for itself, and a name that ends in ``-bin`` has a value of bytes."""
_OWN: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "te", "transfer-encoding"}
)
"""Headers that describe the connection or the body, which this package makes."""


def sendable_headers(option: str, headers: object) -> dict[str, str]:
    """The headers, with their names in lower case, without those that describe the connection or the body.

    Raises:
        ConfigError: a header cannot be sent. The message names ``option`` and the header, and not the value, which may be secret.
    """
    require(option, headers, Mapping, expected="a mapping of names to values")
    sendable: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", headers).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"{option}: {name!r:.100} is not the name of a header")
        if not isinstance(value, str):
            raise ConfigTypeError(f"{option}: expected a string for {name}, got {class_name(value)}")
        text = header_text(f"{option}: {name}", value)
        if name.lower() not in _OWN:
            sendable[name.lower()] = text
    return sendable


class AddedHeaders:
    """What a program adds to each request: the option ``headers``, of which a function is called anew for each request."""

    def __init__(self, given: GivenHeaders, logger: logging.Logger) -> None:
        self._given = given
        self._logger = logger
        self._is_new_problem = Once()

    def now(self) -> dict[str, str]:
        """The headers of a request that starts now.

        Raises:
            ConfigError: the function raised, or returned what cannot be sent. The traceback is logged once a problem.
        """
        try:
            return sendable_headers("headers", self._given() if callable(self._given) else self._given)
        except Exception as error:
            # Only the type: the message of an exception of the user may have a credential.
            problem = str(error) if isinstance(error, ConfigError) else f"the function headers raised {type(error).__name__}"
            if self._is_new_problem(problem):
                self._logger.exception("flagd: the function headers failed")
            raise ConfigError(problem) from error
