"""What is done to bytes before anybody reads them: inflated in steps, counted, timed, and cleaned for the event parser.

Every limit sits where the bytes arise: a counter behind the inflation would see a bomb after it went off.

Source: ``data-system.md`` 1.6 and 1.7.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import anyio

__all__ = ["BodyError", "PaceError", "check_coding", "events_within", "inflate", "lively", "progressing"]

_STEP: Final = 65536
_GZIP: Final = 16 + zlib.MAX_WBITS
_BOM: Final = b"\xef\xbb\xbf"
_GRACE_READS: Final = 4
"""A body may take that many read time-outs, and then has to keep up the slowest pace."""
_SLOWEST: Final = 10_240
"""Bytes a second that a body has to bring on average: far below any link that could serve flags, far above a slow drip."""


class _Inflation(Protocol):
    """What ``zlib.decompressobj`` gives; its class has no public name."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class BodyError(Exception):
    """A body that cannot be used: too large, in a coding that was not asked for, or not what its coding says."""


class PaceError(Exception):
    """A body that does not arrive: silence, or a drip that would take for ever."""


def check_coding(coding: str, *allowed: str) -> str:
    """The content coding of a body, one of ``allowed`` or ``identity``. Stacked codings are refused, even of known ones."""
    name = coding.strip().lower() or "identity"
    name = "gzip" if name == "x-gzip" else name
    if name != "identity" and name not in allowed:
        raise BodyError(f"content coding {name!r} was not asked for")
    return name


async def inflate(chunks: AsyncIterable[bytes], coding: str, limit: int) -> AsyncGenerator[bytes, None]:
    """A body in plain bytes: at most ``limit`` of them, and as many compressed; inflated in pieces of at most 64 KiB."""
    came = gave = 0
    stream = zlib.decompressobj(_GZIP)
    async with _reading(chunks) as source:
        async for chunk in source:
            came += len(chunk)
            if came > limit:
                raise BodyError(f"more than {limit} bytes")
            if coding == "identity":
                yield chunk
                continue
            while True:
                piece = _step(stream, chunk)
                gave += len(piece)
                if gave > limit:
                    raise BodyError(f"more than {limit} bytes after inflation")
                if piece:
                    yield piece
                if stream.eof and stream.unused_data:  # gzip may come as several members, one after the other
                    chunk, stream = stream.unused_data, zlib.decompressobj(_GZIP)
                    continue
                chunk = stream.unconsumed_tail
                if not chunk and len(piece) < _STEP:
                    break
    if coding == "gzip" and came and not stream.eof:
        raise BodyError("gzip that ends too early")


def _step(stream: _Inflation, chunk: bytes) -> bytes:
    try:
        return stream.decompress(chunk, _STEP)
    except zlib.error as error:
        raise BodyError(f"broken gzip: {error}") from None


async def lively(chunks: AsyncIterable[bytes], silence: float) -> AsyncGenerator[bytes, None]:
    """The same bytes; :class:`PaceError` after ``silence`` seconds without one. Heart-beat comments are bytes."""
    async with _reading(chunks) as source:
        while (chunk := await _next(source, silence)) is not None:
            yield chunk


async def progressing(chunks: AsyncIterable[bytes], read_timeout: float) -> AsyncGenerator[bytes, None]:
    """The same bytes; :class:`PaceError` after ``read_timeout`` seconds without one, or when they come in drips."""
    start, came = anyio.current_time(), 0
    async with _reading(chunks) as source:
        while True:
            allowed = start + _GRACE_READS * read_timeout + came / _SLOWEST - anyio.current_time()
            if (chunk := await _next(source, min(read_timeout, allowed))) is None:
                return
            came += len(chunk)
            yield chunk


async def _next(source: AsyncIterator[bytes], seconds: float) -> bytes | None:
    chunk = None
    with anyio.move_on_after(seconds) as scope:
        chunk = await anext(source, None)
    if scope.cancelled_caught:
        raise PaceError(f"too few bytes in {max(seconds, 0):.3g} s")
    return chunk


@asynccontextmanager
async def _reading(chunks: AsyncIterable[bytes]) -> AsyncGenerator[AsyncIterator[bytes], None]:
    """An iterator that is closed by whoever iterated it, instead of by the garbage collector, where it can be closed."""
    source = aiter(chunks)
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def events_within(chunks: AsyncIterable[bytes], limit: int) -> AsyncGenerator[bytes, None]:
    """The bytes of an event stream as the event parser needs them: no byte order mark, and line feeds for line breaks.

    Raises:
        BodyError: an event has more than ``limit`` bytes, or as many come without an end of one.
    """
    size, last = 0, b""
    async with _reading(_cleaned(chunks)) as source:
        async for chunk in source:
            window = last + chunk
            end = window.rfind(b"\n\n")
            size = size + len(chunk) if end < 0 else len(window) - end - 2
            if size > limit:
                raise BodyError(f"an event of more than {limit} bytes")
            last = chunk[-1:]
            yield chunk


async def _cleaned(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    start, is_start, after_return = b"", True, False
    async with _reading(chunks) as source:
        async for chunk in source:
            if is_start:
                start += chunk
                if len(start) < len(_BOM) and _BOM.startswith(start):
                    continue
                chunk, is_start = start.removeprefix(_BOM), False
            if after_return and chunk:
                chunk, after_return = chunk.removeprefix(b"\n"), False  # the first half was a line break already
            if chunk:
                after_return = chunk.endswith(b"\r")
                yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
    if is_start and start:
        yield start
