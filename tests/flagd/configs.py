"""Options of flagd clients for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags.flagd.config import FlagdConfig

__all__ = ["config"]


def config(environment: Mapping[str, str] | None = None, **options: Any) -> FlagdConfig:
    """The options with these environment variables and no others."""
    return FlagdConfig(environment=environment or {}, **options)
