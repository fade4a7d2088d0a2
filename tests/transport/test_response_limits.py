"""Limits on response bodies and event streams."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioflags.transport.response_limits import BodyError, PaceError, check_coding, events_within, inflate, lively, progressing, utf8


async def chunks_of(*steps: bytes | float) -> AsyncGenerator[bytes, None]:
    for step in steps:
        if isinstance(step, bytes):
            yield step
        else:
            await anyio.sleep(step)


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """``data`` in pieces of these sizes, again and again."""
    pieces: list[bytes] = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    return pieces


# -- codings


@pytest.mark.parametrize(
    ("coding", "expected"),
    [("", "identity"), ("identity", "identity"), ("gzip", "gzip"), (" GZIP ", "gzip"), ("x-gzip", "gzip")],
)
def test_requested_content_codings_are_accepted(coding: str, expected: str) -> None:
    assert check_coding(coding, "gzip") == expected


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "gzip,"])
def test_other_content_codings_are_refused(coding: str) -> None:
    with pytest.raises(BodyError, match="not requested"):
        check_coding(coding, "gzip")


def test_a_stream_accepts_no_content_coding() -> None:
    with pytest.raises(BodyError):
        check_coding("gzip")


# -- inflation


@given(st.binary(max_size=3000), st.lists(st.integers(1, 500), min_size=1, max_size=5), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
async def test_a_body_is_inflated_for_every_division_into_chunks(data: bytes, sizes: list[int], members: int) -> None:
    body = b"".join([gzip.compress(data)] * members)
    assert await joined(inflate(chunks_of(*cut(body, sizes)), "gzip", 100_000)) == data * members


@pytest.mark.parametrize("size", [65535, 65536, 65537, 131072, 1_000_000])
async def test_bodies_with_a_multiple_of_the_step_size_are_complete(size: int) -> None:
    for data in (b"x" * size, bytes(i * 7919 % 251 for i in range(size))):
        assert await joined(inflate(chunks_of(gzip.compress(data)), "gzip", size)) == data


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
async def test_arbitrary_bytes_are_inflated_or_refused(data: bytes, sizes: list[int]) -> None:
    for body in (data, b"\x1f\x8b\x08\x00" + data, gzip.compress(b"flags") + data):
        with contextlib.suppress(BodyError):
            assert len(await joined(inflate(chunks_of(*cut(body, sizes)), "gzip", 10_000))) <= 10_000


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        pytest.param(b"x" * 1001, "identity", id="plain"),
        pytest.param(gzip.compress(b"x" * 1001), "gzip", id="inflated"),
        pytest.param(gzip.compress(b"", mtime=0) * 100, "gzip", id="many empty members"),
    ],
)
async def test_more_than_the_limit_is_refused(body: bytes, coding: str) -> None:
    with pytest.raises(BodyError, match="more than 1000 bytes"):
        await joined(inflate(chunks_of(*cut(body, [100])), coding, 1000))


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    assert len(await joined(inflate(chunks_of(b"x" * 1000), "identity", 1000))) == 1000
    assert len(await joined(inflate(chunks_of(gzip.compress(b"x" * 1000)), "gzip", 1000))) == 1000


async def test_a_gzip_bomb_is_stopped_early() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(100)), packer.flush()])
    assert len(bomb) < 100_000_000 / 900
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            await joined(inflate(chunks_of(bomb), "gzip", 1_000_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


# -- pace


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [
        pytest.param([299.0, b":", 299.0, b":", 299.0, b":"], None, id="heartbeats keep the stream open"),
        pytest.param([301.0, b":"], 300, id="silence before the first byte"),
        pytest.param([b":", 10.0, b":", 400.0, b":"], 310, id="silence after a heartbeat"),
    ],
)
async def test_silence_on_a_stream(steps: list[bytes | float], seconds: float | None) -> None:
    start = anyio.current_time()
    if seconds is None:
        assert await joined(lively(chunks_of(*steps), 300)) == b":::"
        return
    with pytest.raises(PaceError):
        await joined(lively(chunks_of(*steps), 300))
    assert anyio.current_time() - start == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ("steps", "seconds", "problem"),
    [
        pytest.param([b"x" * 150_000, 14.0] * 20, None, "", id="a slow link that keeps up"),
        pytest.param([b"x", 14.0] * 20, 60, "only 5 bytes in 60 s", id="one byte per timeout"),
        pytest.param([b"x", 14.99] * 20, 60, "only 5 bytes in 60 s", id="one byte just before each timeout"),
        pytest.param([b"x", 16.0, b"x"], 15, "no bytes for 15 s", id="silence"),
        pytest.param(
            [b"x" * 102_400, *[14.0, b"x"] * 20], 70, "only 102405 bytes in 70 s", id="a fast start allows ten more seconds"
        ),
    ],
)
async def test_the_pace_of_a_body(steps: list[bytes | float], seconds: float | None, problem: str) -> None:
    start = anyio.current_time()
    if seconds is None:
        await joined(progressing(chunks_of(*steps), 15))
        return
    with pytest.raises(PaceError, match=f"^{problem}$"):
        await joined(progressing(chunks_of(*steps), 15))
    assert anyio.current_time() - start == pytest.approx(seconds, abs=0.01)


async def test_time_used_by_the_reader_does_not_count_as_silence() -> None:
    async for _ in lively(chunks_of(b"a", b"b"), 300):
        await anyio.sleep(1000)


# -- events


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b":x", b"data: 1", b"\xef\xbb\xbf", b"\xff"]), max_size=30),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
async def test_line_breaks_become_line_feeds_for_every_division_into_chunks(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    expected = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert await joined(events_within(chunks_of(*cut(data, sizes)), 1000)) == expected


async def test_half_a_byte_order_mark_is_kept() -> None:
    assert await joined(events_within(chunks_of(b"\xef", b"\xbb"), 1000)) == b"\xef\xbb"


async def test_chunks_can_come_from_any_async_iterable() -> None:
    class Once:
        def __init__(self) -> None:
            self.left = [b"a", b"b"]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    assert await joined(events_within(lively(Once(), 300), 1000)) == b"ab"


@pytest.mark.parametrize("size", [1, 7, 64, 65536])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
async def test_the_size_of_an_event_is_limited_but_not_that_of_a_stream(size: int, line_break: bytes) -> None:
    event = b"data: " + b"x" * 80 + line_break * 2
    await joined(events_within(chunks_of(*cut(event * 50, [size])), 100))
    endless = event * 3 + (b"data: " + b"x" * 30 + line_break) * 10
    with pytest.raises(BodyError, match="more than 100 bytes"):
        await joined(events_within(chunks_of(*cut(endless, [size])), 100))


async def is_refused(data: bytes, sizes: list[int], limit: int) -> bool:
    try:
        await joined(events_within(chunks_of(*cut(data, sizes)), limit))
    except BodyError:
        return True
    return False


@pytest.mark.parametrize("before", [b"", b":\n\n", b"data: 1\n\n\n"], ids=str)
@pytest.mark.parametrize("after", [b"", b"\n", b"\n\n", b"\n\n:\n\n"], ids=str)
@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("length", [99, 101])
async def test_an_event_is_refused_wherever_it_is_in_a_chunk(before: bytes, after: bytes, size: int, length: int) -> None:
    event = b"data: " + b"x" * (length - 7) + b"\n"
    assert await is_refused(before + event + after[1:], [size], 100) is (length > 100)


@settings(max_examples=300)
@given(
    parts=st.lists(st.sampled_from([b":", b"data: 1", b"\n", b"\n\n", b"\r\n", b"\r"]), max_size=30),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
async def test_an_event_is_refused_for_every_division_into_chunks_or_for_none(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    assert await is_refused(data, sizes, 10) == await is_refused(data, [len(data) + 1], 10)


async def test_leaving_early_closes_the_source_of_the_chunks() -> None:
    closed: list[bool] = []

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b":\n\n"
        finally:
            closed.append(True)

    for chunks in (
        events_within(lively(source(), 300), 100),
        inflate(progressing(source(), 15), "identity", 100),
    ):
        await anext(chunks)
        await chunks.aclose()
    assert closed == [True, True]


# -- text


@pytest.mark.parametrize("sizes", [[1], [2], [3], [1000]], ids=str)
@pytest.mark.parametrize("text", ["", "plain", "übergröße 😀 end", "\ufffd"], ids=ascii)
async def test_utf8_passes_unchanged(text: str, sizes: list[int]) -> None:
    assert await joined(utf8(chunks_of(*cut(text.encode(), sizes)))) == text.encode()


@pytest.mark.parametrize("sizes", [[1], [2], [1000]], ids=str)
@pytest.mark.parametrize("body", [b'{"variatio\xee": 1}', b"\xff", b"cut off \xc3", b"\xed\xa0\x80", b"\xc0\x80"], ids=ascii)
async def test_other_bytes_are_refused(body: bytes, sizes: list[int]) -> None:
    with pytest.raises(BodyError, match="not UTF-8"):
        await joined(utf8(chunks_of(*cut(body, sizes))))
