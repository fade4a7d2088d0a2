"""Reads the contexts that requests have: in base64 in the path, or as JSON. A mistake becomes a one-line error.

Source: ``client-side.md`` 1.3.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from aioflags.devserver.bodies import decode_json
from aioflags.errors import ConfigError
from aioflags.model.context import Context
from aioflags.model.nesting import check_depth
from aioflags.model.values import type_name
from aioflags.protocol.documents.problems import UNREADABLE, located_problem

MAX_CONTEXT_BYTES: Final = 1024 * 1024
"""The longest accepted body with a context."""
MAX_ENCODED_LENGTH: Final = 48 * 1024
"""The longest accepted context in a path. Longer paths soon fail in servers and proxies."""

_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def read_encoded_context(text: str) -> Context:
    """Read a context from the path of a request: its JSON in base64, in the alphabet for URLs or the standard one.

    Raises:
        ConfigError: the text is too long, not base64, or not a valid context.
    """
    if len(text) > MAX_ENCODED_LENGTH:
        raise ConfigError(f"the context in the path has {len(text)} characters; {MAX_ENCODED_LENGTH} are accepted. Send a REPORT")
    unpadded = text.rstrip("=").translate(_STANDARD_ALPHABET)
    try:
        decoded = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("the context in the path is not base64") from None
    return read_context(decoded)


def read_context(text: bytes) -> Context:
    """Read a context from its JSON. U+FFFD takes the place of half of a surrogate pair, as in services that are written in Go.

    Raises:
        ConfigError: the text is not a valid context.
    """
    try:
        check_depth(text)
        decoded: Any = decode_json(text)
        if b"\\u" in text:
            decoded = _unicode(decoded)
    except UNREADABLE as error:
        raise ConfigError(located_problem("the context", error, text)) from None
    if not isinstance(decoded, dict):
        raise ConfigError(f"the context: expected an object, got {type_name(decoded)}")
    context = decoded_context(cast("dict[str, object]", decoded))
    if not context.canonical_key:
        raise ConfigError("the context cannot be used: the key is empty")
    return context


def _unicode(decoded: Any) -> Any:
    """The same values, all of whose text can be encoded. A program may have half of a surrogate pair from the name of a file."""
    text = json.dumps(decoded, ensure_ascii=False)
    return decoded if _LONE_SURROGATE.search(text) is None else json.loads(_LONE_SURROGATE.sub("\ufffd", text))


def decoded_context(decoded: Mapping[str, object]) -> Context:
    """The context of decoded JSON. Without a ``kind`` it is a legacy user.

    Raises:
        ConfigError: the context is not valid.
    """
    context = Context.from_dict(decoded) if "kind" in decoded else Context.from_legacy_user(decoded)
    if context.error is not None:
        raise ConfigError(f"the context cannot be used: {context.error}")
    return context
