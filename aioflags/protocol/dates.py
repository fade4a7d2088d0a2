"""Dates in HTTP response headers, such as ``Date`` and ``Retry-After``."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def read_date(text: str) -> int | None:
    """The date in a header value, as Unix time in milliseconds. ``None`` if the value is not a date."""
    try:
        date = parsedate_to_datetime(text)
        # A date without a time zone is in UTC, not in local time.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
