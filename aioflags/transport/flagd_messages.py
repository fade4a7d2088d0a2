"""What calls of flagd return, as plain values, and RpcFailed, which they raise.

Source: ``flagd.md`` 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["RpcFailed", "ServerEvent", "ServerValue", "SyncMessage", "ValueKind"]


class RpcFailed(Exception):  # noqa: N818 -- as RequestFailed, it reports what happened
    """A call failed. ``code`` is the name of gRPC's code, ``details`` the text of the server or of gRPC."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}" if details else code)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncMessage:
    """A message of the sync stream: the text of a flag set, and the static context; ``None`` if the message has none."""

    flag_configuration: str
    sync_context: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """A message of the event stream."""

    type: str
    data: Mapping[str, Any]


class ValueKind(StrEnum):
    """The type that a call asks for, as the methods of the service name it."""

    BOOLEAN = "Boolean"
    STRING = "String"
    FLOAT = "Float"
    INT = "Int"
    OBJECT = "Object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerValue:
    """The server's evaluation of a flag. Without ``has_value`` the caller has to use its default."""

    value: Any
    has_value: bool
    reason: str
    variant: str | None
    metadata: Mapping[str, Any]
