"""DynamoDBConnection: calls to one table of DynamoDB, repeated within bounds while it is busy.

All items have the string keys ``namespace`` and ``key``. What else they have is up to ``dynamodb_flags.py`` and
``dynamodb_memberships.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from aioflags.errors import StoreError
from aioflags.runtime.validation import public_address
from aioflags.stores.dynamodb_client import DynamoDBClient
from aioflags.stores.dynamodb_errors import CONDITION_FAILED, CallFailure, error_code, explain, judge_failure
from aioflags.stores.retries import Retries

__all__ = ["BUSY", "DynamoDBConnection", "DynamoDBItem", "keys"]

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
        """Write an item, unless the attribute ``item`` of the stored one differs from that of ``before``."""
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
