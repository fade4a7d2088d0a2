"""Character sets: the characters that a part of a regular expression can match, as the bits of an integer.

One bit for each ASCII character, one for all other characters, one for the end of the text.
"""

from __future__ import annotations

import re
from typing import Any, Final

ASCII: Final = (1 << 128) - 1
BEYOND: Final = 1 << 128
END: Final = 1 << 129
NULLABLE: Final = 1 << 130
"""Stands for the text after a part that is analysed alone. It is in the set if the part can be empty."""
ANY: Final = ASCII | BEYOND | END
NEWLINE: Final = 1 << 10


def characters(operation: str, argument: Any, flags: int) -> int:
    """The characters that a one-character node matches, or a larger set."""
    match operation:
        case "ANY":
            return ASCII | BEYOND if flags & re.DOTALL else (ASCII | BEYOND) & ~NEWLINE
        case "NOT_LITERAL":
            return (ASCII & ~_bit(argument)) | BEYOND
        case "LITERAL":
            taken, is_negated = _bit(argument), False
        case _:
            is_negated = str(argument[0][0]) == "NEGATE"
            taken = 0
            for kind, member in argument[is_negated:]:
                taken |= _set_member(str(kind), member)
    if is_negated:
        return (ASCII & ~taken) | BEYOND
    return _either_case(taken) if flags & re.IGNORECASE else taken


def _set_member(kind: str, member: Any) -> int:
    match kind:
        case "LITERAL":
            return _bit(member)
        case "RANGE":
            low, high = member
            return sum(1 << code for code in range(low, min(high, 127) + 1)) | (BEYOND if high > 127 else 0)
        case _:
            return _CATEGORIES[str(member)]


def _bit(code: int) -> int:
    return 1 << code if code < 128 else BEYOND


def _either_case(taken: int) -> int:
    """The set with both cases of each letter. Some ASCII letters have another case beyond ASCII."""
    both = taken | BEYOND
    for code in range(128):
        if taken >> code & 1:
            both |= _bit(ord(chr(code).swapcase()))
    return both


_DIGIT: Final = sum(1 << code for code in range(128) if chr(code).isdigit())
_SPACE: Final = sum(1 << code for code in range(128) if chr(code).isspace())
_WORD: Final = sum(1 << code for code in range(128) if chr(code).isalnum() or chr(code) == "_")
_CATEGORIES: Final = {
    f"CATEGORY_{negation}{name}": (ASCII & ~taken if negation else taken) | BEYOND
    for name, taken in (("DIGIT", _DIGIT), ("SPACE", _SPACE), ("WORD", _WORD))
    for negation in ("", "NOT_")
}
