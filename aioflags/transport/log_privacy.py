"""Keeps contexts out of the logs of the HTTP libraries, which log the addresses of requests.

Source: ``client-side.md`` 1.2.
"""

from __future__ import annotations

import logging
from typing import Final

from aioflags.protocol.client_side import public_text

__all__ = ["keep_contexts_out_of_logs"]

_LOGGERS: Final = (
    *("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy"),
    *("httpx2", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy"),
)
"""Loggers of httpx, which logs addresses at ``INFO``, and of httpcore, which logs the target of a redirect at ``DEBUG``;
then those of httpx2, which logs the same.
"""


def keep_contexts_out_of_logs() -> None:
    """Replace context and hash in what the HTTP libraries log from now on, also for handlers that are added later."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_hide_context)  # A filter that a logger has is not added again.


def _hide_context(record: logging.LogRecord) -> bool:
    """A filter that keeps every record, and removes what is private from its text."""
    text = record.getMessage()
    public = public_text(text)
    if public != text:
        record.msg, record.args = public, ()
    return True
