"""Limits on response bodies: inflate in steps, count bytes, check pace and text, and clean the bytes for the event parser.

Bytes are counted while they are inflated: a count afterwards would come after a decompression bomb has filled the memory.

Source: ``data-system.md`` 1.6 and 1.7.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

_STEP: Final = 65536
_GZIP: Final = 16 + zlib.MAX_WBITS
_BOM: Final = b"\xef\xbb\xbf"
_GRACE_READS: Final = 4
"""A body may take this many read timeouts; then it must arrive at the minimum pace."""
_MIN_PACE: Final = 10_240
"""Bytes per second that a body must have on average: far below any usable link, far above a server that stalls on purpose."""


class BodyError(Exception):
    """A body that cannot be used: too large, not UTF-8, or not in the coding of its header, or that coding was not requested."""


class PaceError(Exception):
    """A body that does not arrive: the server is silent, or too slow."""


def check_coding(coding: str, *allowed: str) -> str:
    """The content coding of a body, one of ``allowed`` or ``identity``. Several codings in one header are refused."""
    name = coding.strip().lower() or "identity"
    name = "gzip" if name == "x-gzip" else name
    if name != "identity" and name not in allowed:
        raise BodyError(f"content coding {name!r} was not requested")
    return name


async def inflate(chunks: AsyncIterable[bytes], coding: str, limit: int) -> AsyncGenerator[bytes, None]:
    """The inflated body, in pieces of at most 64 KiB: at most ``limit`` bytes, both compressed and inflated."""
    received = inflated = 0
    stream = zlib.decompressobj(_GZIP)
    async with _reading(chunks) as source:
        async for chunk in source:
            received += len(chunk)
            if received > limit:
                raise BodyError(f"more than {limit} bytes")
            if coding == "identity":
                yield chunk
                continue
            while True:
                try:
                    piece = stream.decompress(chunk, _STEP)
                except zlib.error as error:
                    raise BodyError(f"broken gzip: {error}") from None
                inflated += len(piece)
                if inflated > limit:
                    raise BodyError(f"more than {limit} bytes after inflation")
                if piece:
                    yield piece
                if stream.eof and stream.unused_data:  # gzip may have several members, one after the other
                    chunk, stream = stream.unused_data, zlib.decompressobj(_GZIP)
                    continue
                chunk = stream.unconsumed_tail
                if not chunk and len(piece) < _STEP:
                    break
    if coding == "gzip" and received and not stream.eof:
        raise BodyError("gzip that ends too early")


async def lively(chunks: AsyncIterable[bytes], silence: float) -> AsyncGenerator[bytes, None]:
    """The same bytes. Raises :class:`PaceError` after ``silence`` seconds without any. Heartbeat comments count as bytes."""
    async with _reading(chunks) as source:
        while (chunk := await _next(source, silence)) is not None:
            yield chunk


async def progressing(chunks: AsyncIterable[bytes], read_timeout: float) -> AsyncGenerator[bytes, None]:
    """The same bytes. Raises :class:`PaceError` after ``read_timeout`` seconds without any, or if they arrive too slowly."""
    start, received = anyio.current_time(), 0
    async with _reading(chunks) as source:
        while True:
            seconds = _GRACE_READS * read_timeout + received / _MIN_PACE
            allowed = start + seconds - anyio.current_time()
            problem = f"only {received} bytes in {seconds:.3g} s" if allowed < read_timeout else None
            if (chunk := await _next(source, min(read_timeout, allowed), problem)) is None:
                return
            received += len(chunk)
            yield chunk


async def _next(source: AsyncIterator[bytes], seconds: float, problem: str | None = None) -> bytes | None:
    """The next bytes; ``None`` at the end. ``problem``: the message if they do not come within ``seconds``."""
    chunk = None
    with anyio.move_on_after(seconds) as scope:
        chunk = await anext(source, None)
    if scope.cancelled_caught:
        raise PaceError(problem or f"no bytes for {seconds:.3g} s")
    return chunk


@asynccontextmanager
async def _reading(chunks: AsyncIterable[bytes]) -> AsyncGenerator[AsyncIterator[bytes], None]:
    """An iterator that is closed when the block ends, if it can be closed, instead of by the garbage collector."""
    source = aiter(chunks)
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def utf8(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes. Raises :class:`BodyError` if they are not UTF-8.

    Otherwise such bytes would pass as a name: a field or an event that is unknown is ignored, and the rest would be used.
    """
    decoder, is_between = codecs.getincrementaldecoder("utf-8")(), True
    async with _reading(chunks) as source:
        async for chunk in source:
            if not (is_between and chunk.isascii()):
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    raise BodyError("text that is not UTF-8") from None
                is_between = not decoder.getstate()[0]
            yield chunk
    if not is_between:
        raise BodyError("text that is not UTF-8")


async def events_within(chunks: AsyncIterable[bytes], limit: int) -> AsyncGenerator[bytes, None]:
    """The bytes of an event stream for the event parser: without a byte order mark, and with line feeds as line breaks.

    Raises:
        BodyError: an event has more than ``limit`` bytes, or its end does not arrive within as many.
    """
    size, last = 0, b""
    async with _reading(_cleaned(chunks)) as source:
        async for chunk in source:
            window = last + chunk
            if size + len(chunk) > limit and _largest_event(window, size - len(last)) > limit:
                raise BodyError(f"an event of more than {limit} bytes")
            end = window.rfind(b"\n\n")
            size = size + len(chunk) if end < 0 else len(window) - end - 2
            last = chunk[-1:]
            yield chunk


def _largest_event(window: bytes, before: int) -> int:
    """The bytes of the largest event, with the break of its last line. ``before``: what the first one has outside the window."""
    first, *others = window.split(b"\n\n")
    sizes = [before + len(first) + 1]
    sizes += [len(event) + 1 - event.startswith(b"\n") for event in others]  # a third line feed belongs to no event
    sizes[-1] -= 1  # the last event has not ended
    return max(sizes)


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
                chunk, after_return = chunk.removeprefix(b"\n"), False  # the last chunk ended in the first half of this break
            if chunk:
                after_return = chunk.endswith(b"\r")
                yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
    if is_start and start:
        yield start
