"""Dates as the headers of answers give them: what time it is for a server, and until when it wants to be left alone."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["read_date"]


def read_date(text: str) -> int | None:
    """The value of a header such as ``Date``, in milliseconds of the wall clock; ``None`` if it is no date."""
    try:
        date = parsedate_to_datetime(text)
        # Without a zone it is UTC, and not this machine's time.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
