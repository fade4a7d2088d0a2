"""A flag server for tests, demonstrations and development without an account: FDv2 and FDv1, for server-side and client-side SDKs.

It also speaks flagd's protocols: OFREP, and with the extra ``flagd`` the gRPC services.

It needs the extra ``server``. The command ``aioflags serve`` starts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from aioflags.devserver.data.flag_file import FlagFile, saver, watch
    from aioflags.devserver.serve import LOOPBACK_HOSTS, RunningServer, create_app, serve
except ModuleNotFoundError as _missing:
    _package = (_missing.name or "").partition(".")[0]
    if _package == "aioflags":
        raise
    _message = f'the development server needs {_package}: pip install "aioflags[server]"'
    raise ModuleNotFoundError(_message, name=_package) from None

from aioflags.devserver.data.history import read_objects
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.faults import Fault, FaultKind, GrpcCode
from aioflags.devserver.injection import Scenario, play, read_scenario
from aioflags.devserver.state import ServerState
from aioflags.runtime.lazy import on_demand, publish

if TYPE_CHECKING:
    from aioflags.devserver.flagd.server import RunningFlagd, serve_flagd

__all__ = [
    "LOOPBACK_HOSTS",
    "Endpoint",
    "Fault",
    "FaultKind",
    "FlagFile",
    "GrpcCode",
    "RunningFlagd",
    "RunningServer",
    "Scenario",
    "ServerState",
    "create_app",
    "play",
    "read_objects",
    "read_scenario",
    "saver",
    "serve",
    "serve_flagd",
    "watch",
]

publish(__name__, globals(), __all__)

if not TYPE_CHECKING:
    # They need gRPC, which takes a while to import, and is an extra of its own.
    __getattr__ = on_demand(__name__, {"aioflags.devserver.flagd.server": ("RunningFlagd", "serve_flagd")})
