"""A watch over look-ups of names: no test looks up a name of the public network, so no test sends anything to a service there.

A pytest plugin, on for every test. A look-up of such a name fails at once, and so does its test. A look-up of ``HANGING`` lasts
until its test ends.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

RESERVED = (".invalid", ".test", ".example")
"""Names that never have an address: RFC 6761. Not every resolver knows that, so none is asked."""
HANGING: Final = "no-answer.test"
"""A name whose look-up hangs."""
_SYSTEM = socket.getaddrinfo
_public: list[str] = []
_test_ended = threading.Event()


def _look_up(host: Any, *args: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name in {"localhost", socket.gethostname()} or _is_address(name):
        return _SYSTEM(host, *args, **options)
    if name == HANGING:
        _test_ended.wait()
    if not name.endswith(RESERVED):
        _public.append(name)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def watch_look_ups() -> None:
    """Replaces the look-up of this process. A program that a test starts calls it, too."""
    socket.getaddrinfo = _look_up


def pytest_configure() -> None:
    watch_look_ups()


@pytest.fixture(autouse=True)
def _looks_up_no_public_name() -> Iterator[None]:
    _public.clear()
    _test_ended.clear()
    yield
    _test_ended.set()
    if _public:
        pytest.fail(f"the test looked up {sorted(set(_public))}: give it a server of its own, or Events(send_events=False)")
