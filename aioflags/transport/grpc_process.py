"""Keeps gRPC's thread for as long as the process runs, and stops it for a fork. This module imports gRPC.

Left alone, gRPC stops its thread when the last channel of the process is collected. It then blocks the event loop to join the
thread, and leaves sockets to the garbage collector, which reports them as unclosed. A child of a fork is aborted by gRPC if the
thread ran in the parent; if a channel of the parent is open during the fork, gRPC does not connect in the child.
"""

from __future__ import annotations

import gc
import os
import warnings
from typing import Final

import grpc.aio

from aioflags.runtime.fork import Lock

__all__ = ["keep_grpc_running"]


class _Keeper:
    def __init__(self) -> None:
        self._lock = Lock()
        self._is_keeping = False

    def keep(self) -> None:
        with self._lock:
            if not self._is_keeping:
                self._is_keeping = True
                grpc.aio.init_grpc_aio()

    def release(self) -> None:
        with self._lock:
            was_keeping, self._is_keeping = self._is_keeping, False
        if was_keeping:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                grpc.aio.shutdown_grpc_aio()
                gc.collect()  # gRPC leaves its sockets open in a cycle; collected later, they would be reported as unclosed


_KEEPER: Final = _Keeper()


def keep_grpc_running() -> None:
    """Start gRPC's thread unless it runs, and keep it until the process ends or forks. Call it before a channel is made."""
    _KEEPER.keep()


if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(before=_KEEPER.release)
