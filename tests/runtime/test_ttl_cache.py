"""TtlCache: its size, the age of its values, which value it drops first, and use from several threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import pytest

from aioflags.persistence.big_segments import TtlCache


class At:
    """A clock that is set by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def holding(*keys: str, size: int = 3, seconds: float = 5.0) -> tuple[TtlCache[str, str], At]:
    cache, clock = TtlCache[str, str](size, seconds), At()
    cache.time = clock
    for key in keys:
        cache.put(key, key.upper())
    return cache, clock


def found(cache: TtlCache[str, str], keys: str) -> str:
    """The keys that are in the cache."""
    return "".join(key for key in keys if cache.get(key) is not None)


@pytest.mark.parametrize(
    ("after", "value"),
    [
        pytest.param(0.0, "A", id="immediately"),
        pytest.param(4.999, "A", id="just before its time is over"),
        pytest.param(5.0, None, id="when its time is over"),
        pytest.param(500.0, None, id="long after"),
    ],
)
def test_a_value_is_kept_for_its_time(after: float, value: str | None) -> None:
    cache, clock = holding("a")
    clock.now = after
    assert cache.get("a") == value


def test_without_a_clock_values_do_not_expire() -> None:
    cache = TtlCache[str, str](3, 5.0)
    cache.put("a", "A")
    assert cache.get("a") == "A"


def test_a_read_does_not_extend_the_time_of_a_value() -> None:
    cache, clock = holding("a")
    for clock.now in (1, 2, 3, 4):
        assert cache.get("a") == "A"
    clock.now = 5
    assert cache.get("a") is None


def test_a_value_that_is_put_again_is_replaced_and_its_time_restarts() -> None:
    cache, clock = holding("a")
    clock.now = 4
    cache.put("a", "newer")
    clock.now = 8.9
    assert cache.get("a") == "newer"


@pytest.mark.parametrize(
    ("read", "put", "left"),
    [
        pytest.param("", "d", "bcd", id="the oldest value"),
        pytest.param("a", "d", "acd", id="a value that was read stays"),
        pytest.param("ab", "de", "bde", id="the least recently read value"),
        pytest.param("x", "d", "bcd", id="a read of a missing key changes nothing"),
        pytest.param("", "ad", "acd", id="a value that is put again counts as read"),
        pytest.param("", "a", "abc", id="nothing, if the key is in the cache"),
        pytest.param("", "defg", "efg", id="several values"),
    ],
)
def test_a_full_cache_drops(read: str, put: str, left: str) -> None:
    cache, _ = holding("a", "b", "c")
    found(cache, read)
    for key in put:
        cache.put(key, key.upper())
    assert found(cache, "abcdefg") == left


def test_a_read_removes_an_expired_value() -> None:
    cache, clock = holding("a", "b", "c")
    clock.now = 5
    assert found(cache, "bc") == ""
    cache.put("d", "D")
    cache.put("e", "E")
    assert len(cache._entries) == 3
    clock.now = 9
    assert found(cache, "abcde") == "de"


def test_a_signal_handler_can_remove_an_expired_value_during_a_read() -> None:
    """The handler runs on the same thread, a moment later."""
    cache, _ = holding("a")
    times = [0.0]

    def time() -> float:
        before = times[-1]
        if before < 5:
            times.append(before + 5)
            assert cache.get("a") is None
        return before

    cache.time = time
    assert cache.get("a") is None


def test_a_signal_handler_can_fill_the_cache_during_a_put() -> None:
    cache, _ = holding("a", "b", "c")
    is_first = [True]

    def time() -> float:
        if is_first.pop() if is_first else False:
            for key in "def":
                cache.put(key, key.upper())
        return 0.0

    cache.time = time
    cache.put("a", "newer")
    assert found(cache, "abcdef") == "aef"


@pytest.mark.real_time
def test_threads_can_put_and_get_at_once_and_the_cache_keeps_its_size() -> None:
    cache, _ = holding(size=20, seconds=1e9)
    sizes: list[int] = []

    def work(keys: Sequence[str]) -> None:
        for key in keys:
            cache.put(key, key)
            assert cache.get(key) in (key, None)
            sizes.append(len(cache._entries))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=([f"{n}-{i % 50}" for i in range(2000)],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert max(sizes) <= 20 + 4  # each other thread may have put one value and not dropped one yet
    assert len(cache._entries) == 20
