"""Device: which computer a program runs on, for context attributes.

Source: ``client-side.md`` 5.6.
"""

from __future__ import annotations

import locale
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioflags.runtime.regular_files import read_regular

__all__ = ["Device", "OperatingSystem", "read_device", "read_operating_system"]

_MAX_BYTES: Final = 4096
_PLACEHOLDERS: Final = frozenset(
    {
        "default string",
        "none",
        "not applicable",
        "not specified",
        "system manufacturer",
        "system product name",
        "to be filled by o.e.m.",
        "undefined",
        "unknown",
    }
)
"""What a firmware has if its maker filled in nothing, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystem:
    """An operating system, such as ``Linux``, ``Ubuntu``, ``22.04``."""

    family: str | None = None
    name: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of a device. ``locale`` is that of the process, such as ``en-US``."""

    manufacturer: str | None = None
    model: str | None = None
    os: OperatingSystem = OperatingSystem()
    locale: str | None = None


def read_device(root: Path = Path("/"), system: str | None = None) -> Device:
    """The device that the program runs on. Blocks: reads files below ``root``."""
    operating_system = read_operating_system(platform.system() if system is None else system)
    manufacturer: str | None = None
    model: str | None = None
    if operating_system.family == "Apple":
        manufacturer = "Apple"
    elif operating_system.family == "Linux":
        firmware = root / "sys/class/dmi/id"
        manufacturer, model = _text(firmware / "sys_vendor"), _text(firmware / "product_name")
        # Boards without such a firmware, such as the Raspberry Pi, have a device tree.
        model = model or _text(root / "proc/device-tree/model")
    return Device(manufacturer=manufacturer, model=model, os=operating_system, locale=_locale())


def read_operating_system(system: str) -> OperatingSystem:
    """The operating system. ``system`` is what :func:`platform.system` returns. Blocks: reads a file."""
    match system:
        case "Darwin":
            return OperatingSystem(family="Apple", name="macOS", version=platform.mac_ver()[0] or None)
        case "Linux":
            try:
                release = platform.freedesktop_os_release()
            except OSError:
                release = {}
            return OperatingSystem(family="Linux", name=release.get("NAME", "Linux"), version=release.get("VERSION_ID"))
        case _:
            return OperatingSystem(family=system or None, name=system or None, version=platform.version() or None)


def _text(path: Path) -> str | None:
    """The text of a file on one line; ``None`` if it has no useful text."""
    try:
        text = read_regular(path, limit=_MAX_BYTES).decode(errors="replace").strip("\0 \n\t")
    except OSError:
        return None
    return None if text.lower() in _PLACEHOLDERS else text or None


def _locale() -> str | None:
    try:
        name = locale.getlocale()[0]
    except ValueError:  # an unknown name in the environment
        return None
    return None if name is None else name.replace("_", "-")
