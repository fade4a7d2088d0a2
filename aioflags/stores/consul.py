"""ConsulStore: the options of Consul. ``consul_flags.py`` has the data layout, ``consul_connection.py`` the requests.

Source: ``architecture.md`` 12; LaunchDarkly's SDKs for the layout.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from aioflags.errors import ConfigError
from aioflags.protocol.requests import header_text
from aioflags.runtime.validation import TEXT, address, require, set_all
from aioflags.stores.base import Store, StoreContext
from aioflags.stores.consul_connection import ConsulConnection, ConsulServer
from aioflags.stores.consul_entries import is_in_url
from aioflags.stores.consul_flags import ConsulFlags
from aioflags.transport.settings import Http

__all__ = ["ConsulStore"]

_URL: Final = "http://localhost:8500"
_PREFIX: Final = "launchdarkly"
_HTTP: Final = Http(connect_timeout=2, read_timeout=2)
"""Shorter than for a service on the internet: evaluations may wait for a store."""


@dataclass(frozen=True, slots=True)
class ConsulStore:
    """Flags in the KV store of Consul, in the layout of LaunchDarkly's SDKs and its Relay Proxy, so that they can share it.

    Args:
        url: the HTTP address of an agent, with ``https://`` for TLS.
        prefix: the start of every key, without a slash at its end. It keeps environments apart.
        token: an ACL token, sent in the header ``X-Consul-Token``.
        datacenter: the datacenter to ask, if it is not the agent's.
        namespace: a namespace of Consul Enterprise.
        http: timeouts, TLS, proxies, or your own ``httpx.AsyncClient``.

    Raises:
        ConfigError: an option is invalid.
    """

    url: str = _URL
    _: KW_ONLY
    prefix: str = _PREFIX
    token: str | None = field(default=None, repr=False)
    datacenter: str | None = None
    namespace: str | None = None
    http: Http = _HTTP

    def __post_init__(self) -> None:
        prefix = require("prefix", self.prefix, str) or _PREFIX
        if not is_in_url(prefix):
            raise ConfigError("prefix: expected names with single slashes between them, such as team/flags")
        for option in ("token", "datacenter", "namespace"):
            value = require(option, getattr(self, option), *TEXT)
            set_all(self, {option: header_text(option, value) or None})
        require("http", self.http, Http)
        set_all(self, {"url": address("url", self.url, _URL), "prefix": prefix})

    @property
    def description(self) -> str:
        """The name in diagnostic events."""
        return "Consul"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with its own connections."""
        server = ConsulServer(url=self.url, token=self.token, datacenter=self.datacenter, namespace=self.namespace, http=self.http)
        return ConsulFlags(ConsulConnection(server, context.logger), prefix=self.prefix, logger=context.logger)
