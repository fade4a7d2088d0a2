"""DynamoDBClient: makes a client of aiobotocore without blocking the event loop, and closes it.

aiobotocore reads its service models (JSON of several megabytes), the configuration and the credentials of AWS from the disk, in the
thread that asks for a client. Here that is a daemon thread. The event loop then builds the client from what is in memory, in a few
milliseconds.
"""

from __future__ import annotations

import asyncio
import importlib
from functools import cache
from typing import Any, Final

import anyio

from aioflags.errors import StoreError
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.version import __version__

__all__ = ["DynamoDBClient"]

_SERVICE: Final = "dynamodb"
_NO_CREDENTIALS: Final = "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
_CLOSED: Final = "the connection to DynamoDB is closed"
_LEFT_BY_PARENTS: Final[list[object]] = []
"""Clients of parent processes. Collecting one would close the connections of the parent, and log that it was not closed."""


class DynamoDBClient:
    """Opens nothing before :meth:`get`. Credentials come from where AWS's tools look for them: environment, files, roles."""

    def __init__(self, *, region: str | None, endpoint_url: str | None, timeout: float) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._timeout = timeout
        self._thread = SerialThread("aioflags-dynamodb")
        self._opening = anyio.Lock()
        self._session: Any = None
        self._client: Any = None
        self._is_closed = False
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: keep the parent's client, unused, until the process ends."""
        self._opening = anyio.Lock()
        if self._client is not None:
            _LEFT_BY_PARENTS.append(self._client)
            self._client = None

    async def get(self) -> Any:
        """The client, made at the first call. Untyped: the operations of a client exist at run time only.

        Raises:
            StoreError: credentials are missing, or :meth:`aclose` was called.
            Exception: aiobotocore's errors, such as ``NoRegionError``.
        """
        if self._client is None:
            # Not two at a time: each would open a client, and one of them would not be closed.
            async with self._opening:
                if self._client is None:
                    self._require_open()
                    session = await self._thread.run(self._ready_session)
                    self._client = await self._made_by(session)
                    if self._is_closed:
                        await self.aclose()
                        self._require_open()
        return self._client

    def _require_open(self) -> None:
        # A call may begin, or go on after a pause, when the store is closed: a client that it made would stay open.
        if self._is_closed:
            raise StoreError(_CLOSED)

    async def aclose(self) -> None:
        """Close the connections of the client. Later calls of :meth:`get` fail."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    def _ready_session(self) -> Any:
        """In the thread: a session that has the service models and the credentials in memory.

        Kept although the call that asked for it was cancelled. If credentials are missing, the next call looks again.
        """
        if self._session is None:
            self._session = self._new_session()
        if _credentials(self._session) is None:
            raise StoreError(_NO_CREDENTIALS)
        return self._session

    def _new_session(self) -> Any:
        session = importlib.import_module("aiobotocore.session").AioSession()
        session.register_component("data_loader", _service_models())
        if self._region is not None:
            session.set_config_variable("region", self._region)
        return session

    async def _made_by(self, session: Any) -> Any:
        config = importlib.import_module("aiobotocore.config").AioConfig(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            # DynamoDBConnection repeats calls. By default botocore tries ten times, also after a timeout, so that an outage would
            # be noticed only after half a minute.
            retries={"total_max_attempts": 1},
            user_agent_extra=f"aioflags/{__version__}",
        )
        options = {"region_name": self._region, "endpoint_url": self._endpoint_url, "config": config}
        return await session.create_client(_SERVICE, **options).__aenter__()


@cache
def _service_models() -> Any:
    """In the thread: a loader of botocore that has read all that a client needs. It is shared by all clients of the process.

    A blocking client, which sends nothing, makes it read.
    """
    importlib.import_module("aiobotocore.config")
    session = importlib.import_module("botocore.session").Session()
    session.create_client(_SERVICE, "us-east-1", aws_access_key_id="unused", aws_secret_access_key="unused").close()  # noqa: S106
    return session.get_component("data_loader")


def _credentials(session: Any) -> Any:
    """In the thread: the credentials of a session, which keeps them; ``None`` if they are missing.

    A role's credentials come from a server of AWS, which aiobotocore asks on an event loop. Here it is one of the thread's own.
    """
    return asyncio.run(session.get_credentials())
