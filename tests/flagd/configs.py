"""Options of flagd clients for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc.aio

from aioflags.flagd.config import FlagdConfig

__all__ = ["IN_PROCESS_FILE", "Interceptor", "config"]

IN_PROCESS_FILE: Final = {"resolver": "in-process", "offline_flag_source_path": "flags.json"}
"""Options that mean the resolver ``file``."""


def config(environment: Mapping[str, str] | None = None, **options: Any) -> FlagdConfig:
    """The options with these environment variables and no others."""
    return FlagdConfig(environment=environment or {}, **options)


class Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """An interceptor of asyncio."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """The call as it is."""
        return await continuation(client_call_details, request)
