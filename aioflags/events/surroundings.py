"""What diagnostic events of every client describe besides its options: the platform, and whether proxies are used.

Source: ``events.md`` 12.2.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from aioflags.protocol.diagnostics import Platform
from aioflags.transport.proxies import proxy_for
from aioflags.transport.settings import DEFAULT_PORTS, Http

__all__ = ["describe_platform", "used_proxies"]


def describe_platform() -> Platform:
    """The operating system and the interpreter of this process."""
    # The module platform may run a shell or call a service of Windows, and block.
    if sys.platform == "win32":
        windows = sys.getwindowsversion()
        name, version = "Windows", f"{windows.major}.{windows.minor}.{windows.build}"
        machine = os.environ.get("PROCESSOR_ARCHITECTURE", "")
    else:
        unix = os.uname()
        name, version, machine = unix.sysname, unix.release, unix.machine
    return Platform(
        os_name="MacOS" if name == "Darwin" else name,
        os_version=version,
        os_arch=machine,
        python_version=platform.python_version(),
        python_implementation=platform.python_implementation(),
    )


def used_proxies(settings: Http, addresses: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """The proxies that requests to these addresses go through. ``environment`` (as ``os.environ``) may name proxies."""
    for address in addresses:
        target = urlsplit(address)
        port = target.port or DEFAULT_PORTS.get(target.scheme, 0)
        proxy = proxy_for(settings, target.scheme, target.hostname or "", port, environment)
        if proxy is not None:
            yield proxy
