"""Which proxy a request uses: the option ``http_proxy``, otherwise the environment variables.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from aioflags.transport.settings import Http

__all__ = ["environment_proxy", "proxy_for"]


def proxy_for(settings: Http, scheme: str, host: str, port: int, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy for a target, or ``None``. Clients of a ``client_factory`` choose their proxies themselves."""
    if settings.client_factory is not None:
        return None
    return settings.http_proxy or environment_proxy(scheme, host, port, environment)


def environment_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy for a target, or ``None``. ``environment`` is like ``os.environ``.

    A lower-case variable wins over its upper-case twin. ``HTTP_PROXY`` in capitals is ignored under CGI, where a client's
    ``Proxy:`` header would set it.
    """
    name = f"{scheme}_proxy"
    proxy = environment.get(name)
    if proxy is None and not (scheme == "http" and "REQUEST_METHOD" in environment):
        proxy = environment.get(name.upper())
    if not proxy or _is_exempt(host.lower(), port, environment.get("no_proxy", environment.get("NO_PROXY", ""))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """``*`` exempts every host; ``host`` and ``.host`` exempt it and its subdomains; ``host:port`` only at that port."""
    return any(_exempts(entry.strip().lower(), host, port) for entry in no_proxy.split(","))


def _exempts(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if entry.count(":") > 1 and not entry.startswith("["):
        entry = f"[{entry}]"  # an IPv6 address without brackets
    try:
        parts = urlsplit(f"//{entry}")
        name, only_port = (parts.hostname or "").removeprefix("."), parts.port
    except ValueError:
        return False
    if not name or (only_port is not None and only_port != port):
        return False
    return host == name or host.endswith(f".{name}")
