"""ServerSide: requests with an SDK key, answered with the definitions of flags and segments.

Source: ``data-system.md`` 1.1 to 1.3, 2 and 3.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from aioflags.model.change import Selector
from aioflags.protocol.effects import Effect
from aioflags.protocol.fdv1 import Fdv1Reader, read_latest_all
from aioflags.protocol.messages import DEFINITIONS, ObjectReader
from aioflags.protocol.requests import all_url, latest_all_url, poll_url, stream_url, usable_filter_key
from aioflags.protocol.side import DataRequest, ReadEvent, Side

__all__ = ["SERVER_SIDE", "ServerSide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSide(Side):
    """What a server-side SDK asks for. ``payload_filter_key``: sent to FDv1 alone; one that is not valid is logged instead."""

    payload_filter_key: str | None = None

    @property
    def objects(self) -> ObjectReader:
        return DEFINITIONS

    def poll(self, base_uri: str, basis: Selector) -> DataRequest:
        return DataRequest(poll_url(base_uri, basis))

    def stream(self, base_uri: str, basis: Selector) -> DataRequest:
        return DataRequest(stream_url(base_uri, basis))

    def fdv1_poll(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        return DataRequest(latest_all_url(base_uri, usable_filter_key(self.payload_filter_key, logger)))

    def fdv1_stream(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        return DataRequest(all_url(base_uri, usable_filter_key(self.payload_filter_key, logger)))

    def read_fdv1_poll(self, body: bytes) -> Generator[None, None, Effect]:
        return read_latest_all(body)

    def fdv1_reader(self, logger: logging.Logger) -> ReadEvent:
        return Fdv1Reader(logger).feed


SERVER_SIDE: Final = ServerSide()
