"""URLs of LaunchDarkly's endpoints with their queries, and the headers that identify the client.

Source: ``data-system.md`` 1.1 to 1.4; ``client-surface.md`` 8, 9 and 12.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast
from urllib.parse import quote

from aioflags.errors import ConfigError
from aioflags.model.secret import SdkKey
from aioflags.runtime.validation import text_or_none
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
