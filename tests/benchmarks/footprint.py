"""The memory, threads and wake-ups of this process. They are measured on Linux only."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_memory() -> int:
    """Bytes of memory in use now."""
    return _status("VmRSS") * 1024


def own_memory() -> int:
    """Bytes of memory in use now that are not pages of files."""
    return _status("RssAnon") * 1024


def peak_memory() -> int:
    """The most bytes in use since :func:`forget_peak`."""
    return _status("VmHWM") * 1024


def forget_peak() -> None:
    """Starts a new measurement of the peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def thread_count() -> int:
    """The number of threads of the operating system, including those of extensions."""
    return _status("Threads")


def wake_ups() -> int:
    """How often a thread of this process has gone to sleep since the process began. Something woke it again each time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)
