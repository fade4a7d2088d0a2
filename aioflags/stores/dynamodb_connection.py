"""DynamoDBConnection: a client of aiobotocore, and its calls to one table, repeated within bounds while it is busy.

All items have the string keys ``namespace`` and ``key``. What else they have is up to ``dynamodb.py``.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint

from aioflags.errors import StoreError
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import describe_error
from aioflags.runtime.validation import public_address
from aioflags.runtime.version import __version__
from aioflags.stores.items import Retries

# -- DynamoDBClient: makes a client of aiobotocore without blocking the event loop, and closes it.
#
# aiobotocore reads its service models (JSON of several megabytes), the configuration and the credentials of AWS from the
# disk, in the thread that asks for a client. Here that is a daemon thread. The event loop then builds the client from what is
# in memory, in a few milliseconds.


_SERVICE: Final = "dynamodb"
_HOW: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
_NO_CREDENTIALS: Final = f"no AWS credentials: set {_HOW}"
_LONGEST_LOOK_UP: Final = 1.5
"""Seconds: less than the time limit of a call of a store, whose message would not say what took so long."""
_SLOW: Final = f"AWS credentials were not found within {_LONGEST_LOOK_UP:g} s (a role's server is asked last); set"
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
        """After a fork, in the child: keep the parent's client, unused, until the process ends."""
        self._opening = anyio.Lock()
        if self._client is not None:
            _LEFT_BY_PARENTS.append(self._client)
            self._client = None

    async def get(self) -> Any:
        """The client, made at the first call. Untyped: the operations of a client exist at run time only.

        Raises:
            StoreError: credentials are missing or not found in time, or :meth:`aclose` was called. The look-up goes on for later
                calls.
            Exception: aiobotocore's errors, such as ``NoRegionError``.
        """
        if self._client is None:
            # Not two at a time: each would open a client, and one of them would not be closed.
            async with self._opening:
                if self._client is None:
                    self._require_open()
                    try:
                        session = await self._thread.run(self._ready_session, timeout=_LONGEST_LOOK_UP)
                    except TimeoutError:
                        raise StoreError(f"{_SLOW} {_HOW}") from None
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
        """Return, in the thread, a session that has the service models and the credentials in memory.

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
    """Return, in the thread, a loader of botocore that has read all that a client needs. All clients of the process share it.

    A blocking client, which sends nothing, makes it read.
    """
    importlib.import_module("aiobotocore.config")
    session = importlib.import_module("botocore.session").Session()
    session.create_client(_SERVICE, "us-east-1", aws_access_key_id="unused", aws_secret_access_key="unused").close()  # noqa: S106
    return session.get_component("data_loader")


def _credentials(session: Any) -> Any:
    """Return, in the thread, the credentials of a session, which keeps them; ``None`` if they are missing.

    A role's credentials come from a server of AWS, which aiobotocore asks on an event loop. Here it is one of the thread's own.
    """
    return asyncio.run(session.get_credentials())


# -- What a failed call of DynamoDB means: whether to repeat it, and an error message that says what to do.
#
# Errors of botocore are recognized by their names and codes, so that botocore is imported only where it is used.


class CallFailure(Enum):
    """What to do after a failed call."""

    FINAL = "raise the error"
    BUSY = "pause and repeat"
    DISCONNECTED = "repeat once, at once"


CONDITION_FAILED: Final = "ConditionalCheckFailedException"
"""The code for a conditional write whose condition does not hold."""

_BUSY: Final = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
_DISCONNECTED: Final = {"ConnectionClosedError", "EndpointConnectionError"}
"""Also the error for a connection that the server closed while it was idle."""
_TIMEOUTS: Final = {"ConnectTimeoutError", "ReadTimeoutError"}
_REFUSED: Final = {
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


def error_code(error: BaseException) -> str | None:
    """The code in an answer of DynamoDB, such as ``ThrottlingException``; ``None`` if the error is not an answer."""
    code: str | None = _answer(error).get("Error", {}).get("Code")
    return code


def judge_failure(error: BaseException) -> CallFailure:
    """Whether the call that raised ``error`` is worth another try. A timeout is not: the next call would hang as well."""
    if error_code(error) in _BUSY or _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return CallFailure.BUSY
    return CallFailure.DISCONNECTED if type(error).__name__ in _DISCONNECTED else CallFailure.FINAL


def explain(error: BaseException, *, table: str, server: str, timeout: float | None) -> str:
    """A message for a failed call, on one line.

    ``server`` is DynamoDB with its address, and ``timeout`` the limit of the client, if they are known.
    """
    code, kind = error_code(error), type(error).__name__
    if code == "ResourceNotFoundException":
        return f"{server} has no table {table}: create it with the partition key namespace and the sort key key, both strings"
    if code == "ValidationException" and "schema" in str(error):
        return f"the table {table} of {server} needs the partition key namespace and the sort key key, both strings"
    if code in _REFUSED:
        # Without the message: that about a wrong signature repeats the request, which may have a session token.
        return f"{server} refused the credentials ({code})"
    if judge_failure(error) is CallFailure.BUSY:
        return f"{server} is busy ({code}): the capacity of the table {table} may be used up"
    if kind in _TIMEOUTS:
        return f"{server} did not answer{f' within {timeout:g} s' if timeout else ' in time'}"
    if kind == "NoRegionError":
        return "no AWS region: set AWS_DEFAULT_REGION, or the option region"
    return describe_error(error)


def _answer(error: BaseException) -> dict[str, Any]:
    """The answer that a ``ClientError`` of botocore has."""
    answer: Any = getattr(error, "response", None)
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


DynamoDBItem: TypeAlias = Mapping[str, Mapping[str, Any]]
"""An item as DynamoDB sends it: each attribute is a mapping from its type to its value, as in ``{"version": {"N": "7"}}``."""

_MAX_BATCH: Final = 25
"""DynamoDB's limit for the writes of one request."""
_MAX_BATCH_SIZE: Final = 400_000
"""Characters of text in one request, unless one item has more: encoding and signing hold the event loop."""
_PAGE: Final = 200
"""Items to read with one request: decoding its answer holds the event loop."""
BUSY: Final = Retries(attempts=6, first_pause=0.05, max_pause=1.0)
"""While DynamoDB is busy. The pauses between six attempts are 0.8 s together, at most 1.6 s."""


class DynamoDBConnection:
    """Opens nothing before its first call. A client of the program is used as it is, and stays open.

    Every method raises :class:`StoreError` with a message that says what to do. ``chance`` returns numbers in [0, 1).
    """

    def __init__(self, client: DynamoDBClient | object, table: str, *, chance: Callable[[], float] = random.random) -> None:
        self._own = client if isinstance(client, DynamoDBClient) else None
        self._client: Any = None if self._own else client
        self._table = table
        self._chance = chance

    async def get(self, namespace: str, key: str) -> DynamoDBItem | None:
        """One item; ``None`` if it does not exist."""
        answer = await self._call("get_item", TableName=self._table, Key=keys(namespace, key), ConsistentRead=True)
        return answer.get("Item")

    async def each_page(self, namespace: str, take: Callable[[Sequence[DynamoDBItem]], None]) -> None:
        """Call ``take`` with the items of a namespace, a page at a time, in the order of their keys."""
        start: dict[str, Any] = {}
        while True:
            page, last = await self._query(namespace, "Items", list, Limit=_PAGE, **start)
            take(page)
            if not last:
                return
            start["ExclusiveStartKey"] = last
            await checkpoint()

    async def is_empty(self, namespace: str) -> bool:
        """Whether a namespace has no item. DynamoDB charges for reading one item, whatever their number."""
        count: int
        count, _ = await self._query(namespace, "Count", int, Limit=1, Select="COUNT")
        return count == 0

    async def put_if_newer(self, item: DynamoDBItem) -> None:
        """Write an item, unless the stored one has the same ``version`` or a higher one. What is not a number is the lowest."""
        await self._call(
            "put_item",
            TableName=self._table,
            Item=item,
            ConditionExpression="attribute_not_exists(#key) OR NOT attribute_type(#version, :number) OR #version < :version",
            ExpressionAttributeNames={"#key": "key", "#version": "version"},
            ExpressionAttributeValues={":version": item["version"], ":number": {"S": "N"}},
        )

    async def put_if_unchanged(self, item: DynamoDBItem, before: DynamoDBItem) -> None:
        """Write an item, unless the attribute ``item`` of the stored one differs from the one of ``before``."""
        await self._call(
            "put_item",
            TableName=self._table,
            Item=item,
            ConditionExpression="#item = :item",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues={":item": before["item"]},
        )

    async def put(self, items: Sequence[DynamoDBItem]) -> None:
        """Write items in this order, many with each request."""
        await self._write([{"PutRequest": {"Item": item}} for item in items])

    async def delete(self, items: Sequence[DynamoDBItem]) -> None:
        """Delete the items with these keys, many with each request."""
        await self._write([{"DeleteRequest": {"Key": item}} for item in items])

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        if self._own is not None:
            self._client = None
            await self._own.aclose()

    # -- batches

    async def _write(self, requests: Sequence[Any]) -> None:
        for batch in _batches(requests):
            await self._write_batch(batch)
            await checkpoint()

    async def _write_batch(self, batch: list[Any]) -> None:
        """Write a batch. DynamoDB leaves a part of it unwritten while it is busy; that part is sent again, after a pause."""
        failures = 0
        while batch:
            await anyio.sleep(BUSY.pause(failures, self._chance()))
            answer = await self._call("batch_write_item", RequestItems={self._table: batch})
            unprocessed: Mapping[str, list[Any]] = answer.get("UnprocessedItems") or {}
            left = unprocessed.get(self._table, [])
            failures = 1 if len(left) < len(batch) else failures + 1
            if failures == BUSY.attempts:
                raise StoreError(f"{self._server} is busy: it wrote nothing of a batch in {BUSY.attempts} attempts")
            batch = left

    # -- one call

    async def _query(self, namespace: str, part: str, kind: type, **options: Any) -> tuple[Any, Any]:
        """A part of the answer to a query, and where the next page starts. An invalid one must not look like an empty namespace."""
        answer = await self._call(
            "query",
            TableName=self._table,
            KeyConditionExpression="#namespace = :namespace",
            ExpressionAttributeNames={"#namespace": "namespace"},
            ExpressionAttributeValues={":namespace": {"S": namespace}},
            ConsistentRead=True,
            **options,
        )
        if not isinstance(result := answer.get(part), kind):
            raise StoreError(f"{self._server} sent an invalid answer to a query")
        return result, answer.get("LastEvaluatedKey")

    async def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """The answer to a call, which is repeated while DynamoDB is busy, and once if the connection was lost.

        A condition that does not hold is not an error: the answer is empty.
        """
        failures, reconnected = 0, False
        while True:
            try:
                if self._own is not None:
                    self._client = await self._own.get()
                answer: Mapping[str, Any] = await getattr(self._client, operation)(**parameters)
                return answer
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 -- botocore, aiohttp and what reads credentials raise errors of all kinds
                if error_code(error) == CONDITION_FAILED:
                    return {}
                failure, problem = judge_failure(error), self._problem(error)
            # Not in the handler: the error may have more in it than its explanation, such as a session token.
            if failure is CallFailure.BUSY and failures + 1 < BUSY.attempts:
                failures += 1
                await anyio.sleep(BUSY.pause(failures, self._chance()))
            elif failure is CallFailure.DISCONNECTED and not reconnected:
                reconnected = True
            else:
                raise StoreError(problem)

    def _problem(self, error: Exception) -> str:
        timeout: float | None = getattr(getattr(getattr(self._client, "meta", None), "config", None), "read_timeout", None)
        return explain(error, table=self._table, server=self._server, timeout=timeout)

    @property
    def _server(self) -> str:
        """DynamoDB, with its address once there is a client."""
        address: str | None = getattr(getattr(self._client, "meta", None), "endpoint_url", None)
        return f"DynamoDB at {public_address(address)}" if address else "DynamoDB"


def keys(namespace: str, key: str) -> DynamoDBItem:
    """The attributes that identify an item."""
    return {"namespace": {"S": namespace}, "key": {"S": key}}


def _batches(requests: Sequence[Any]) -> Iterator[list[Any]]:
    """The requests in lists that one call can have."""
    batch: list[Any] = []
    size = 0
    for request in requests:
        length = _length(request)
        if batch and (len(batch) == _MAX_BATCH or size + length > _MAX_BATCH_SIZE):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += length
    if batch:
        yield batch


def _length(request: Any) -> int:
    """The characters of text that an item has; 0 for a deletion."""
    item: DynamoDBItem = request.get("PutRequest", {}).get("Item", {})
    return sum(len(str(value)) for attribute in item.values() for value in attribute.values())
