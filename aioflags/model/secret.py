"""SdkKey: an SDK key that is validated once and never shown."""

from __future__ import annotations

import re
from typing import Final

USABLE_VALUES = re.compile(r"[A-Za-z0-9._-]{0,8192}")
DISCARDED_ADVICE: Final = "look for spaces, quotes or line breaks around it"
DISCARDED: Final = f"it has characters that no key has, or is too long; none is sent: {DISCARDED_ADVICE}"
"""What is logged about a key that is discarded."""


class SdkKey:
    """An SDK key that can be sent in a header. Neither ``repr`` nor ``str`` shows it.

    A key with other characters than letters, digits and ``. _ -``, or with more than 8192, is discarded: :attr:`value` is empty
    and :attr:`discarded` is true. A line break in the header would break every request.
    """

    __slots__ = ("discarded", "value")

    def __init__(self, text: str) -> None:
        usable = USABLE_VALUES.fullmatch(text) is not None
        self.value: str = text if usable else ""
        self.discarded: bool = not usable

    @property
    def is_mobile(self) -> bool:
        """Whether the key looks like a mobile key."""
        return self.value.startswith("mob-")

    @property
    def is_server_side(self) -> bool:
        """Whether the key looks like a server-side SDK key."""
        return self.value.startswith("sdk-")

    @property
    def suffix(self) -> str:
        """The last six characters, which diagnostic events contain. No other part of the key may be shown."""
        return self.value[-6:]

    def __repr__(self) -> str:
        return "SdkKey(***)" if self.value else "SdkKey('')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self.value)
