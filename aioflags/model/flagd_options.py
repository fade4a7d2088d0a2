"""The types of flagd's options, for the options themselves and for the parts of a client that use them.

Source: ``flagd.md`` 1.1 and 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

__all__ = ["CacheKind", "ContextEnricher", "FatalCodesScope", "FractionalVersion", "Resolver", "SyncMetadata"]

Resolver: TypeAlias = Literal["rpc", "in-process", "file", "ofrep"]
CacheKind: TypeAlias = Literal["lru", "disabled"]
FatalCodesScope: TypeAlias = Literal["first-connection", "always"]
SyncMetadata: TypeAlias = Literal["stream", "rpc", "off"]
FractionalVersion: TypeAlias = Literal[2, 3]
ContextEnricher: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
