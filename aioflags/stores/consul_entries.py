"""Consul's JSON: the entries of an answer, and writes as the operations of transactions. No input or output.

Source: https://developer.hashicorp.com/consul/api-docs/kv and https://developer.hashicorp.com/consul/api-docs/txn
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from aioflags.errors import StoreError
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.cooperative import Budget, Cooperative

__all__ = [
    "MAX_VALUE",
    "ConsulBatch",
    "ConsulEntry",
    "ConsulWrite",
    "batches",
    "is_in_url",
    "is_storable",
    "read_conflict",
    "read_entries",
    "read_names",
]

MAX_VALUE: Final = 512 * 1024
"""The most bytes that Consul keeps for one key, unless its ``kv_max_value_size`` is another."""
_MAX_BODY: Final = 512 * 1024
"""The most bytes of a transaction, in JSON with values in base64, unless Consul's ``txn_max_req_len`` is another."""
_MAX_OPERATIONS: Final = 64
"""The most operations of a transaction. Newer servers take 128."""
_STALE: Final = "index is stale"
"""What Consul answers to a check-and-set if the entry has changed."""


class ConsulEntry(msgspec.Struct, frozen=True, rename="pascal", gc=False):
    """What Consul keeps under a key. ``modify_index`` changes with every write; ``value`` is in base64."""

    key: str
    modify_index: int
    value: str | None = None

    @property
    def text(self) -> bytes | None:
        """The value; ``None`` if it is not base64."""
        try:
            return binascii.a2b_base64(self.value or "", strict_mode=True)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulWrite:
    """A change of one key. ``text`` is the new value; ``None`` deletes the key.

    With an ``index`` the key is written only if its ``modify_index`` is still this one; 0 stands for a key that does not exist.
    """

    key: str
    text: bytes | None
    index: int | None = None


ConsulBatch: TypeAlias = bytes | ConsulWrite
"""The body of a transaction, or a write that is too large for one."""


class _Operation(msgspec.Struct, rename="pascal", omit_defaults=True):
    verb: str
    key: str
    value: bytes | None = None
    index: int | None = None
    namespace: str | None = None


class _Member(msgspec.Struct, rename="upper"):
    kv: _Operation


class _Error(msgspec.Struct, rename="pascal"):
    what: str


class _Transaction(msgspec.Struct, rename="pascal"):
    """The answer to a transaction. The results of writes repeat their keys."""

    results: msgspec.Raw
    errors: list[_Error] | None = None


_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_NAMES: Final = msgspec.json.Decoder(list[str])
_ENTRY: Final = msgspec.json.Decoder(ConsulEntry)
_TRANSACTION: Final = msgspec.json.Decoder(_Transaction)


# -- answers


def read_entries(body: bytes) -> Cooperative[list[ConsulEntry]]:
    """The entries of an answer; cooperative. Raises :class:`StoreError` if it is not a list of entries."""
    entries: list[ConsulEntry] = []
    budget = Budget()
    try:
        for text in _LIST.decode(body):
            entries.append(_ENTRY.decode(text))
            if budget.is_spent():
                yield
    except UNREADABLE:
        raise StoreError("Consul sent an answer that is not a list of entries") from None
    return entries


def read_names(body: bytes) -> list[str]:
    """The keys and folders of an answer. Raises :class:`StoreError` if it is not a list of text."""
    try:
        return _NAMES.decode(body)
    except UNREADABLE:
        raise StoreError("Consul sent an answer that is not a list of keys") from None


def read_conflict(body: bytes) -> bool:
    """Whether the answer to a transaction reports that an entry has changed.

    Raises:
        StoreError: Consul refused the transaction for another reason, or the answer cannot be read.
    """
    try:
        errors = _TRANSACTION.decode(body).errors or []
    except UNREADABLE:
        raise StoreError("Consul sent an invalid answer to a transaction") from None
    for error in errors:
        if _STALE not in error.what:
            raise StoreError(f"Consul refused a transaction: {error.what}")
    return bool(errors)


# -- writes


def batches(writes: Iterable[ConsulWrite], namespace: str | None = None) -> Iterator[ConsulBatch]:
    """The writes in their order, in as few transactions as Consul's limits allow. Each write is storable."""
    operations: list[bytes] = []
    size = 1  # of the brackets and commas around the operations, and of these
    for write in writes:
        operation = _operation(write, namespace)
        if operations and (len(operations) == _MAX_OPERATIONS or size + len(operation) + 1 > _MAX_BODY):
            yield b"[%b]" % b",".join(operations)
            operations, size = [], 1
        if _fits(operation):
            operations.append(operation)
            size += len(operation) + 1
        else:
            yield write
    if operations:
        yield b"[%b]" % b",".join(operations)


def is_storable(write: ConsulWrite, namespace: str | None = None) -> bool:
    """Whether Consul's default limits allow this write."""
    if write.text is None or len(write.text) * 4 / 3 < _MAX_BODY / 2:
        return True  # in base64 it is far below the limit, so that most writes are encoded once only
    return len(write.text) <= MAX_VALUE and (is_in_url(write.key) or _fits(_operation(write, namespace)))


def is_in_url(key: str) -> bool:
    """Whether a URL can address the key: it is text, and has no part that web servers, and so Consul, remove from a path."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return all(part not in ("", ".", "..") for part in key.split("/"))


def _fits(operation: bytes) -> bool:
    return len(operation) + 2 <= _MAX_BODY


def _operation(write: ConsulWrite, namespace: str | None) -> bytes:
    operation = _Operation(verb=_verb(write), key=write.key, value=write.text, index=write.index, namespace=namespace)
    return msgspec.json.encode(_Member(kv=operation))


def _verb(write: ConsulWrite) -> str:
    if write.text is None:
        return "delete"
    return "set" if write.index is None else "cas"
