"""What is wrong, or cannot be meant, in flag files. Pure: texts in, findings out; ``aioflags lint`` is its command."""

from __future__ import annotations

from aioflags.tools.lint.files import lint
from aioflags.tools.lint.findings import RULES, Level, LintFinding

__all__ = ["RULES", "Level", "LintFinding", "lint"]
