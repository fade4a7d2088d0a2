"""MurmurHash3, the 32-bit variant for x86 with seed 0.

Source: ``flagd.md`` 6.4.
"""

from __future__ import annotations

import struct
from typing import Final

_MASK: Final = 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """The hash of bytes, as an unsigned number of 32 bits."""
    length = len(data)
    blocks, tail = length >> 2, length & 3
    result = 0
    for block in struct.unpack_from(f"<{blocks}I", data):
        mixed = block * 0xCC9E2D51 & 0xFFFFFFFF
        result ^= (mixed << 15 | mixed >> 17) * 0x1B873593 & 0xFFFFFFFF
        result = ((result << 13 | result >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail:
        mixed = int.from_bytes(data[-tail:], "little") * 0xCC9E2D51 & _MASK
        result ^= (mixed << 15 | mixed >> 17) * 0x1B873593 & _MASK
    result ^= length
    result = (result ^ result >> 16) * 0x85EBCA6B & _MASK
    result = (result ^ result >> 13) * 0xC2B2AE35 & _MASK
    return result ^ result >> 16
