"""The syntax tree of a regular expression: parsed, shortened and compiled by Python's own ``re``.

A clause tests whether a pattern occurs in a text, not where. So a repetition at either end of a pattern can be cut to its minimal
count: ``a+b`` occurs wherever ``ab`` does, ``xa*`` wherever ``x`` does. After that, ``re`` does not try the same characters again
from each place of the text.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from aioflags.runtime.fork import Lock

Node: TypeAlias = tuple[Any, Any]
"""An operation and its argument, as in ``re``'s syntax trees."""
Tree: TypeAlias = Any
"""A ``SubPattern`` of ``re``: a sequence of nodes, and the state of the parser."""

ONE_CHARACTER: Final = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
"""The operations that match exactly one character."""

try:
    # The parser and compiler of re are private. Only they produce exactly the tree that re runs.
    _parser: Any = importlib.import_module("re._parser")
    _compiler: Any = importlib.import_module("re._compiler")
except ImportError:  # a later Python without them: patterns are compiled unchanged, and no bound is proven
    _parser = _compiler = None

_MAY_WARN: Final = re.compile(r"\[\[|--|&&|~~|\|\|")
_SILENCE: Final = Lock()


def parse(text: str) -> Tree | None:
    """The tree of a pattern; ``None`` if this Python does not give access to it.

    Raises what :func:`re.compile` raises.
    """
    if _parser is None:
        re.compile(text)
        return None
    if not _MAY_WARN.search(text):
        return _parser.parse(text)
    # The warning filters are global to the process: two threads must not change them at the same time.
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about syntax that a later Python may parse differently
        return _parser.parse(text)


def compile_tree(tree: Tree) -> re.Pattern[str]:
    """The compiled pattern of a tree."""
    pattern: re.Pattern[str] = _compiler.compile(tree)
    return pattern


def shortened(tree: Tree) -> Tree:
    """A tree that occurs in the same texts as the given one, with less repetition at both ends.

    This is not true for patterns with back-references, since the text of a group can change. Such patterns do not run on ``re``.
    """
    nodes = _cut(tree.data, tree.state, first=True)
    return _tree(_cut(nodes, tree.state, first=False), tree.state)


def _cut(nodes: Sequence[Node], state: Any, *, first: bool) -> list[Node]:
    """The nodes, with the first or the last one cut to its minimal count."""
    nodes = list(nodes)
    while nodes:
        place = slice(0, 1) if first else slice(len(nodes) - 1, len(nodes))
        ((operation, argument),) = nodes[place]
        match str(operation):
            case "MAX_REPEAT" | "MIN_REPEAT" if argument[0] <= 1:
                nodes[place] = argument[2].data if argument[0] else ()
                continue  # the node that is now at this end can be repeated, too
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, _, body = argument
                nodes[place] = [(operation, (least, least, body))]
            case "SUBPATTERN":
                *head, body = argument
                inner = _cut(body.data, state, first=first)
                nodes[place] = [(operation, (*head, _tree(inner, state)))] if inner else ()
                if not inner:
                    continue
            case "BRANCH":
                alternatives = [_tree(_cut(body.data, state, first=first), state) for body in argument[1]]
                nodes[place] = [(operation, (None, alternatives))]
            case _:
                pass
        break
    return nodes


def _tree(nodes: Sequence[Node], state: Any) -> Tree:
    return _parser.SubPattern(state, list(nodes))


def members(node: Node, flags: int, characters: str) -> str:
    """The characters that a one-character node matches. ``re`` itself decides."""
    state = _parser.State()
    state.flags = flags
    return "".join(compile_tree(_tree([node], state)).findall(characters))


def is_cramped() -> bool:
    """Whether the caller uses more than half of the stack. Then a ``RecursionError`` may not be caused by the pattern."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # raises ValueError if there are fewer frames
    except ValueError:
        return False
    return True


# -- Character sets: the characters that a part of a regular expression can match, as the bits of an integer.
#
# One bit for each ASCII character, one for all other characters, one for the end of the text.


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
