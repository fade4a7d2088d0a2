"""Finds mistakes in flag files. No input or output: :func:`lint` takes texts and returns findings. Command: ``aioflags lint``."""

from __future__ import annotations

from aioflags.tools.lint.files import lint
from aioflags.tools.lint.findings import RULES, Level, LintFinding

__all__ = ["RULES", "Level", "LintFinding", "lint"]
