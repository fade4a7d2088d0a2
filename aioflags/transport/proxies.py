"""Which proxy a request uses: the option ``http_proxy``, otherwise the environment variables. And which one gRPC uses.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from aioflags.protocol.requests import in_address
from aioflags.runtime.logs import Once, logger, printable
from aioflags.transport.settings import DEFAULT_PORTS, Http

EXEMPTIONS: Final = "names, .suffixes, addresses, networks such as 10.0.0.0/8, or *"
"""What ``NO_PROXY`` may have."""
_SOCKS_PORT: Final = 1080
_NAME: Final = re.compile(r"[^\s/:;*?#@\\\[\]<>]+")
_NUMBERS: Final = re.compile(r"[\d-]*")
"""The last part of what may be meant as addresses. That of a name has a letter."""
_GRPC_PORT: Final = 443
_GRPC_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
"""The first one that is set counts, also for a connection without TLS."""
_NOT_BY_GRPC: Final = re.compile(r"(unix|vsock):", re.IGNORECASE)
_SCHEME: Final = re.compile(r"(dns|ipv4|ipv6|xds|unix-abstract):(//[^/]*/)?", re.IGNORECASE)

_is_new = Once()


def proxy_for(settings: Http, url: str, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy for requests to ``url``, or ``None``. ``environment`` is like ``os.environ``.

    A lower-case variable wins over its upper-case twin. ``HTTP_PROXY`` in capitals is ignored under CGI, where a client's
    ``Proxy:`` header would set it. Clients of a ``client_factory`` choose their proxies themselves.
    """
    if settings.client_factory is not None:
        return None
    if settings.http_proxy:
        return settings.http_proxy
    target = urlsplit(url)
    name = f"{target.scheme}_proxy"
    proxy = environment.get(name)
    if proxy is None and not (target.scheme == "http" and "REQUEST_METHOD" in environment):
        proxy = environment.get(name.upper())
    if not proxy or _is_exempt(target.hostname or "", target.port or DEFAULT_PORTS.get(target.scheme, 0), environment):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def named_proxy(proxy: str) -> str:
    """Host and port of a proxy, for a message: its URL may have a password. Raises ``ValueError`` for an invalid URL."""
    parts = urlsplit(proxy)
    if not parts.hostname:
        raise ValueError("a proxy without a host")
    return f"{in_address(parts.hostname)}:{parts.port or DEFAULT_PORTS.get(parts.scheme, _SOCKS_PORT)}"


# -- exemptions


class _Exemption(NamedTuple):
    """An entry of ``NO_PROXY``: a name with its subdomains or a network, at one port or at all."""

    name: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None


def unread_exemptions(environment: Mapping[str, str]) -> list[str]:
    """The entries of ``NO_PROXY`` that exempt nothing, because they are nothing that it may contain."""
    return [entry for entry in _entries(environment) if entry != "*" and _exemption(entry) is None]


def _is_exempt(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether ``NO_PROXY`` has ``*``, the host or a domain above it, or a network with its address."""
    for entry in unread_exemptions(environment):
        if _is_new(entry):
            logger.warning("NO_PROXY: %r exempts nothing; expected %s", printable(entry), EXEMPTIONS)
    name, address = _ascii(host.strip("[]")), _network(host.strip("[]"))
    for entry in _entries(environment):
        if entry == "*":
            return True
        exemption = _exemption(entry)
        if exemption is None or exemption.port not in {None, port}:
            continue
        if exemption.network is None or address is None:
            is_exempt = address is exemption.network and f".{name}".endswith(f".{exemption.name}")
        else:
            is_exempt = address.network_address in exemption.network
        if is_exempt:
            return True
    return False


def _entries(environment: Mapping[str, str]) -> list[str]:
    return environment.get("no_proxy", environment.get("NO_PROXY", "")).replace(",", " ").split()


@lru_cache(maxsize=256)
def _exemption(entry: str) -> _Exemption | None:
    """What an entry exempts: ``host``, ``.host`` and ``*.host`` are the same. ``None`` if it is not readable."""
    if (network := _network(entry.replace("[", "").replace("]", "") if "/" in entry else entry)) is not None:
        return _Exemption("", network, None)
    try:
        parts = urlsplit(f"//{entry}")
        host, port = (parts.hostname or "").removeprefix("*").removeprefix(".").rstrip("."), parts.port
    except ValueError:
        return None
    network = _network(host)
    if parts.netloc != entry or (network is None and (not _NAME.fullmatch(host) or _NUMBERS.fullmatch(host.rpartition(".")[2]))):
        return None
    return _Exemption(_ascii(host), network, port)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network, or one address as a network."""
    try:
        return ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return None


def _ascii(name: str) -> str:
    """A name as DNS has it."""
    name = name.lower().rstrip(".")
    with suppress(UnicodeError):
        return name.encode("idna").decode()
    return name


# -- gRPC


def grpc_proxy(target: str, environment: Mapping[str, str]) -> str | None:
    """Host and port of the proxy that gRPC uses for a target in its syntax. It has rules of its own.

    Only variables in lower case count, only proxies with ``http://``, and in ``no_proxy`` names with their subdomains and networks.
    Before 1.84 gRPC compares the ends of names: its ``no_proxy=host`` exempts ``localhost`` too, and ``.localhost`` does not.
    """
    proxy = next((environment[name] for name in _GRPC_VARIABLES if name in environment), "")
    try:
        parts = urlsplit(proxy)
        port = parts.port or _GRPC_PORT
    except ValueError:
        return None
    if parts.scheme != "http" or not parts.hostname or _NOT_BY_GRPC.match(target):
        return None
    address = _SCHEME.sub("", target, count=1).lower()
    host = address.partition("]")[0].removeprefix("[") if address.startswith("[") else address.partition(":")[0]
    own = _network(host)
    for entry in environment.get("no_grpc_proxy", environment.get("no_proxy", "")).split(","):
        name, network = entry.strip().lower().removeprefix("."), _network(entry.strip())
        if name and (f".{host}".endswith(f".{name}") or (own and network and own.network_address in network)):
            return None
    return f"{in_address(parts.hostname)}:{port}"
