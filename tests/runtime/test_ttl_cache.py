"""Recent: how many, for how long, which goes first, and who may ask meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import pytest

from aioflags.runtime.ttl_cache import TtlCache


class At:
    """A clock that is set by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def holding(*keys: str, size: int = 3, seconds: float = 5.0) -> tuple[TtlCache[str, str], At]:
    recent, clock = TtlCache[str, str](size, seconds), At()
    recent.time = clock
    for key in keys:
        recent.put(key, key.upper())
    return recent, clock


def found(recent: TtlCache[str, str], keys: str) -> str:
    """Which of the keys it still knows."""
    return "".join(key for key in keys if recent.get(key) is not None)


@pytest.mark.parametrize(
    ("after", "value"),
    [
        pytest.param(0.0, "A", id="at once"),
        pytest.param(4.999, "A", id="until its time is over"),
        pytest.param(5.0, None, id="and no longer"),
        pytest.param(500.0, None, id="ever"),
    ],
)
def test_a_value_is_known(after: float, value: str | None) -> None:
    recent, clock = holding("a")
    clock.now = after
    assert recent.get("a") == value


def test_before_there_is_a_clock_nothing_gets_old() -> None:
    recent = TtlCache[str, str](3, 5.0)
    recent.put("a", "A")
    assert recent.get("a") == "A"


def test_asking_makes_nothing_younger() -> None:
    recent, clock = holding("a")
    for clock.now in (1, 2, 3, 4):
        assert recent.get("a") == "A"
    clock.now = 5
    assert recent.get("a") is None


def test_what_is_put_again_is_new_and_young() -> None:
    recent, clock = holding("a")
    clock.now = 4
    recent.put("a", "newer")
    clock.now = 8.9
    assert recent.get("a") == "newer"


@pytest.mark.parametrize(
    ("asked", "put", "left"),
    [
        pytest.param("", "d", "bcd", id="the first that came"),
        pytest.param("a", "d", "acd", id="unless it was asked for"),
        pytest.param("ab", "de", "bde", id="of those that were, the one that was longest ago"),
        pytest.param("x", "d", "bcd", id="and asking for what is not there changes nothing"),
        pytest.param("", "ad", "acd", id="what is put again counts as asked for"),
        pytest.param("", "a", "abc", id="nothing, where something has its place already"),
        pytest.param("", "defg", "efg", id="as many as have to"),
    ],
)
def test_where_there_is_no_place_left_gives_way(asked: str, put: str, left: str) -> None:
    recent, _ = holding("a", "b", "c")
    found(recent, asked)
    for key in put:
        recent.put(key, key.upper())
    assert found(recent, "abcdefg") == left


def test_what_is_too_old_leaves_its_place_when_it_is_asked_for() -> None:
    recent, clock = holding("a", "b", "c")
    clock.now = 5
    assert found(recent, "bc") == ""
    recent.put("d", "D")
    recent.put("e", "E")
    assert len(recent._entries) == 3
    clock.now = 9
    assert found(recent, "abcde") == "de"


def test_a_signal_handler_may_find_it_too_old_while_it_is_looked_at() -> None:
    """It comes a moment later, on the same thread."""
    recent, _ = holding("a")
    times = [0.0]

    def time() -> float:
        before = times[-1]
        if before < 5:
            times.append(before + 5)
            assert recent.get("a") is None
        return before

    recent.time = time
    assert recent.get("a") is None


def test_a_signal_handler_may_fill_it_while_something_is_put() -> None:
    recent, _ = holding("a", "b", "c")
    is_first = [True]

    def time() -> float:
        if is_first.pop() if is_first else False:
            for key in "def":
                recent.put(key, key.upper())
        return 0.0

    recent.time = time
    recent.put("a", "newer")
    assert found(recent, "abcdef") == "aef"


@pytest.mark.real_time
def test_threads_put_and_ask_at_once_and_it_never_grows_beyond_its_size() -> None:
    recent, _ = holding(size=20, seconds=1e9)
    sizes: list[int] = []

    def work(keys: Sequence[str]) -> None:
        for key in keys:
            recent.put(key, key)
            assert recent.get(key) in (key, None)
            sizes.append(len(recent._entries))

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
    assert max(sizes) <= 20 + 4  # a reader may look while each of the others has put one, and not made room yet
    assert len(recent._entries) == 20
