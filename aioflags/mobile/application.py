"""Application: which program runs, for context attributes and tags.

Source: ``client-side.md`` 5.6.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from pathlib import PurePath
from typing import Final

from aioflags.protocol.requests import usable_tag
from aioflags.runtime.version import __version__

__all__ = ["THIS_SDK", "Application", "Program", "find_application", "merge_applications", "usable_application"]

_SCRIPT_GROUPS: Final = ("console_scripts", "gui_scripts")
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What is known of a program. ``id`` identifies it, ``name`` and ``version_name`` are for people."""

    id: str | None = None
    name: str | None = None
    version: str | None = None
    version_name: str | None = None

    @property
    def tags(self) -> dict[str, str | None]:
        """The values by option, for the tags of requests."""
        return {
            "application_id": self.id,
            "application_name": self.name,
            "application_version": self.version,
            "application_version_name": self.version_name,
        }


THIS_SDK: Final = Application(id="aioflags", name="aioflags", version=__version__)
"""What requests and contexts name if the application is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How the program was started: ``module`` of ``python -m``, or ``path`` of a script."""

    module: str | None
    path: str

    @classmethod
    def running(cls) -> Program:
        """The program that runs now."""
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        return cls(module=getattr(spec, "name", None), path=sys.argv[0] if sys.argv else "")


def usable_application(configured: Application, logger: logging.Logger) -> Application | None:
    """What is configured; ``None``, and a warning, if its id cannot be a tag. The rest would count for another application."""
    if not configured.id or usable_tag(configured.id):
        return configured
    logger.warning(
        "application_id: not used, expected 1 to 64 of the characters A-Z a-z 0-9 . _ -; "
        "the other options of the application are not used either"
    )
    return None


def merge_applications(configured: Application, installed: Application | None) -> Application:
    """What is configured, completed by what is installed; if both lack an id, by this SDK's name and version."""
    if installed is None:
        is_known = configured.id is not None
        installed = Application() if is_known else THIS_SDK
    version = configured.version or installed.version
    return Application(
        id=configured.id or installed.id,
        name=configured.name or installed.name,
        version=version,
        version_name=configured.version_name or version,
    )


def find_application(program: Program) -> Application | None:
    """The distribution that has the module or the script; ``None`` if none has. Blocks: reads files.

    The values have only characters that a tag may have.
    """
    try:
        package = _distribution(program)
    except (PackageNotFoundError, OSError, ValueError):
        return None
    if package is None:
        return None
    name = _as_tag(package.metadata["Name"])
    return Application(id=name, name=name, version=_as_tag(package.version))


def _distribution(program: Program) -> Distribution | None:
    if program.module:
        return distribution(program.module.partition(".")[0])
    name = PurePath(program.path).name.removesuffix(".exe")
    scripts = [script for group in _SCRIPT_GROUPS for script in entry_points(group=group, name=name)]
    return scripts[0].dist if scripts else None


def _as_tag(text: str) -> str:
    return _NOT_IN_TAGS.sub("-", text)[:64]
