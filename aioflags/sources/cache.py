"""Cache: the flags that the device kept for the context, as an initializer. It makes no request.

Source: ``client-side.md`` 5.4.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import ClassVar

from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.result import Basis
from aioflags.sources.base import FlagCache, SourceContext

__all__ = ["Cache", "CacheSource"]


@dataclass(frozen=True, slots=True)
class Cache:
    """The flags of an earlier run, until newer ones arrive. They have no selector, so the first transfer is a full one."""

    name: ClassVar[str] = "cache"

    def build(self, context: SourceContext, /) -> CacheSource:
        """A new source, for one run."""
        return CacheSource(context.cache)


class CacheSource:
    """The source that :class:`Cache` builds."""

    def __init__(self, cache: FlagCache | None) -> None:
        self.name: str = Cache.name
        self._cache = cache

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:  # noqa: ARG002 -- what it has is all
        """The flags, or a change set that changes nothing."""
        flags = None if self._cache is None else await self._cache.read()
        if flags is None:
            yield Basis(change_set=ChangeSet.unchanged(), directive=None, cached=True)
            return
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=flags.changes, persist=False)
        yield Basis(change_set=change_set, directive=None, cached=True, freshness_ms=flags.freshness_ms)
