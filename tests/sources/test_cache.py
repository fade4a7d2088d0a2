"""Cache: the initializer that reads what the device kept."""

from __future__ import annotations

import pytest

from aioflags.model.change import Basis, Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.detail import FlagEvaluation
from aioflags.sources.base import CachedFlags, FlagCache, SourceContext
from aioflags.sources.polling import Cache

CHANGES = (Change(ObjectKind.FLAG, "a", 3, FlagEvaluation(key="a", version=3, value=True)),)


class Kept:
    """A cache that has these flags."""

    def __init__(self, flags: CachedFlags | None) -> None:
        self._flags = flags

    async def read(self) -> CachedFlags | None:
        return self._flags


async def fetched(cache: FlagCache | None) -> list[Basis]:
    source = Cache().build(SourceContext(cache=cache))
    return [result async for result in source.fetch(lambda: Selector("s", 7))]


@pytest.mark.parametrize("changes", [CHANGES, ()])
@pytest.mark.parametrize("freshness_ms", [1_700_000_000_000, None])
async def test_flags_of_the_cache_are_a_full_change_set_that_is_not_written_back(
    changes: tuple[Change, ...], freshness_ms: int | None
) -> None:
    (basis,) = await fetched(Kept(CachedFlags(changes=changes, freshness_ms=freshness_ms)))
    expected = ChangeSet(kind=ChangeKind.FULL, changes=changes, selector=Selector.none(), persist=False)
    assert basis == Basis(change_set=expected, directive=None, cached=True, freshness_ms=freshness_ms)


@pytest.mark.parametrize("cache", [pytest.param(Kept(None), id="an empty cache"), pytest.param(None, id="F-50 no cache")])
async def test_without_flags_nothing_changes(cache: FlagCache | None) -> None:
    assert await fetched(cache) == [Basis(change_set=ChangeSet.unchanged(), directive=None, cached=True)]


def test_all_builders_are_equal() -> None:
    assert Cache() == Cache()
    assert hash(Cache()) == hash(Cache())
