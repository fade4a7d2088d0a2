"""Options of flagd clients for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aioflags.flagd.config import FlagdConfig

__all__ = ["IN_PROCESS_FILE", "config"]

IN_PROCESS_FILE: Final = {"resolver": "in-process", "offline_flag_source_path": "flags.json"}
"""Options that mean the resolver ``file``."""


def config(environment: Mapping[str, str] | None = None, **options: Any) -> FlagdConfig:
    """The options with these environment variables and no others."""
    return FlagdConfig(environment=environment or {}, **options)
