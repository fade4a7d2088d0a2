"""DynamoDBStore: the connection options of DynamoDB. ``dynamodb_flags.py`` and ``dynamodb_memberships.py`` have the data layout.

Creating a ``DynamoDBStore`` requires aiobotocore (the extra ``dynamodb``), or a client of it.

Source: ``data-system.md`` 7.9; ``architecture.md`` 12.
"""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, dataclass, field
from importlib.util import find_spec
from typing import Final

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import address, positive, require, set_all, text_or_none
from aioflags.stores.base import Store, StoreContext
from aioflags.stores.dynamodb_client import DynamoDBClient
from aioflags.stores.dynamodb_connection import DynamoDBConnection
from aioflags.stores.dynamodb_flags import DynamoDBFlags
from aioflags.stores.dynamodb_memberships import DynamoDBMemberships
from aioflags.stores.memberships import MembershipStore

__all__ = ["DynamoDBStore"]

_TIMEOUT: Final = 2.0
_METHODS: Final = ("get_item", "put_item", "query", "batch_write_item", "__aenter__")
"""What a client of aiobotocore has. One of boto3 has no ``__aenter__``."""


@dataclass(frozen=True, slots=True)
class DynamoDBStore:
    """Flags and big segments in DynamoDB, in the layout of LaunchDarkly's SDKs and its Relay Proxy, so that they can share a table.

    The table must exist, with the partition key ``namespace`` and the sort key ``key``, both strings. Credentials come from where
    AWS's tools look for them: environment variables, files, roles.

    Args:
        table: the name of the table.
        prefix: with ``:`` after it, the start of every ``namespace``. It keeps environments apart.
        region: in place of the region of the environment (``AWS_DEFAULT_REGION``) or of AWS's files.
        endpoint_url: an address in place of that of the region, for DynamoDB Local.
        timeout: seconds that a connection may take to open, or to answer.
        client: a ``dynamodb`` client of aiobotocore or aioboto3 in place of ``region``, ``endpoint_url`` and ``timeout``. The
            program closes it.

    Raises:
        ConfigError: an option is invalid, or aiobotocore is not installed.
        TypeError: ``client`` is a synchronous client.
    """

    table: str
    _: KW_ONLY
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    timeout: float = _TIMEOUT
    client: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not require("table", self.table, str):
            raise ConfigError("table: expected the name of a table, got an empty one")
        require("prefix", self.prefix, str)
        text_or_none("region", self.region)
        if self.endpoint_url is not None:
            set_all(self, {"endpoint_url": address("endpoint_url", self.endpoint_url, "")})
        if self.client is not None and not all(callable(getattr(self.client, method, None)) for method in _METHODS):
            raise ConfigTypeError(f"client: expected a dynamodb client of aiobotocore, got {_described(self.client)}")
        set_all(self, {"timeout": positive("timeout", self.timeout, _TIMEOUT, logger)})
        if self.client is None and "aiobotocore" not in sys.modules and find_spec("aiobotocore") is None:
            raise ConfigError('DynamoDBStore needs aiobotocore: pip install "aioflags[dynamodb]"')

    @property
    def description(self) -> str:
        """The name in diagnostic events."""
        return "DynamoDB"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with a new client or the program's."""
        return DynamoDBFlags(self.connection(), prefix=self._start, logger=context.logger)

    def build_memberships(self) -> MembershipStore:
        """A store of memberships, with a new client or the program's."""
        return DynamoDBMemberships(self.connection(), prefix=self._start)

    def connection(self) -> DynamoDBConnection:
        """A connection that opens at first use."""
        own = DynamoDBClient(region=self.region, endpoint_url=self.endpoint_url, timeout=self.timeout)
        return DynamoDBConnection(own if self.client is None else self.client, self.table)

    @property
    def _start(self) -> str:
        return f"{self.prefix}:" if self.prefix else ""


def _described(client: object) -> str:
    """The type of what is not a usable client, and what to do about the two that come close."""
    name = type(client).__name__
    if name == "ClientCreatorContext":
        return "one that is not open: use what async with returns"
    return f"the synchronous {name} of boto3" if callable(getattr(client, "batch_write_item", None)) else name
