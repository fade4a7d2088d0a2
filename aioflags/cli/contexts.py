"""Whom a command is about: a context as a person writes it, in the option ``--context`` or in a line of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aioflags.cli.usage_errors import context_mistake, is_word, placed, remark
from aioflags.model.context import LEGACY_ATTRIBUTES, Context
from aioflags.model.nesting import check_depth
from aioflags.protocol.documents.problems import UNREADABLE

__all__ = ["context_of", "read_context", "written_context"]

_WRITTEN: Final = msgspec.json.Decoder(dict[str, Any])
_OF_USERS: Final = frozenset({"key", "anonymous", "custom", "privateAttributeNames", "secondary", *LEGACY_ATTRIBUTES})


def read_context(text: str) -> Context:
    """The context of an option. Raises :class:`Mistake` for what is no JSON object or no context."""
    context = context_of(written_context(text))
    if context.error is not None:
        raise context_mistake(context.error)
    return context


def written_context(text: str) -> dict[str, Any]:
    """What an option says. Raises :class:`Mistake` for what is no JSON object."""
    try:
        check_depth(text)
        return _WRITTEN.decode(text)
    except UNREADABLE as error:
        if is_word(text):
            raise context_mistake(f"not JSON: {text}", key=text) from None
        raise context_mistake(placed(error)) from None


def context_of(data: Mapping[str, Any]) -> Context:
    """The context that is written so; it may have an error. Without a kind it is a user of the old form."""
    if "kind" in data:
        return Context.from_dict(data)
    # A user's own attributes stand in "custom". They are easily written beside it, and lost.
    for name in sorted(data.keys() - _OF_USERS):
        remark(
            f'"{name}" is not looked at: a context without "kind" is an old user, whose own attributes stand under "custom"; '
            'add "kind": "user"'
        )
    return Context.from_legacy_user(data)
