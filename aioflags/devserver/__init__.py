"""A small flag server for tests, demonstrations and work without an account: FDv2 and FDv1, polling and streaming.

It needs the extra ``server``. ``aioflags serve`` is its command.
"""

from __future__ import annotations

try:
    from aioflags.devserver.app import LOOPBACK_HOSTS, create_app
    from aioflags.devserver.control.saving import save_to
    from aioflags.devserver.serve import Serving, serve
    from aioflags.devserver.watch import FlagFile, watch
except ModuleNotFoundError as _missing:
    _absent = (_missing.name or "").partition(".")[0]
    if _absent == "aioflags":
        raise
    _message = f'the development server needs {_absent}: pip install "aioflags[server]"'
    raise ModuleNotFoundError(_message, name=_absent) from None

from aioflags.devserver.faults.faults import Fault, FaultKind
from aioflags.devserver.faults.scenario import Scenario, play, read_scenario
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.objects import read_objects
from aioflags.devserver.state import ServerState

__all__ = [
    "LOOPBACK_HOSTS",
    "Endpoint",
    "Fault",
    "FaultKind",
    "FlagFile",
    "Scenario",
    "ServerState",
    "Serving",
    "create_app",
    "play",
    "read_objects",
    "read_scenario",
    "save_to",
    "serve",
    "watch",
]
