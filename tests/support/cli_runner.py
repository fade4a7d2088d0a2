"""CliRunner: click's, with standard error apart from standard output in every version of click."""

from __future__ import annotations

import inspect
from typing import Any

import click.testing

_APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(click.testing.CliRunner).parameters else {}
"""Before click 8.2 this has to be asked for."""


class CliRunner(click.testing.CliRunner):
    """Calls commands in this process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, **_APART)
