"""What time it is for a server, as its answers say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["read_date"]


def read_date(headers: Mapping[str, str]) -> int | None:
    """The time in the header ``Date``, in milliseconds; ``None`` if there is none, or nothing that is a date."""
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
        # Without a zone it is UTC, and not this machine's time.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
