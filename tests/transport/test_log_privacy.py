"""What the loggers of the HTTP libraries show of a client-side request."""

from __future__ import annotations

import logging

import pytest

from aioflags.transport.clients import keep_contexts_out_of_logs


@pytest.mark.parametrize("version", ["", "2"], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("name", ["httpx{}", "httpcore{}.http11", "httpcore{}.http2", "httpcore{}.proxy"])
def test_context_and_hash_are_replaced(name: str, version: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name.format(version))
    keep_contexts_out_of_logs()
    keep_contexts_out_of_logs()
    with caplog.at_level(logging.DEBUG):
        logger.info("%s %s", "GET", "https://a.test/meval/abc?h=1f")
        logger.debug("%d of %s", 3, "other lines")
    assert caplog.messages == ["GET https://a.test/meval/<context>?h=<hash>", "3 of other lines"]
    assert len(logger.filters) == 1
