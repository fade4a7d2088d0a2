"""Keeps gRPC's thread for as long as the process runs, and stops it for a fork. This module imports gRPC.

Left alone, gRPC stops its thread when the last channel of the process is collected. It then blocks the event loop to join the
thread, and leaves sockets to the garbage collector, which reports them as unclosed. A child of a fork is aborted by gRPC if the
thread ran in the parent. If a channel is open during the fork, the thread cannot be stopped before it: the child gets no answer of
gRPC, and would wait without an end for the missing thread when it closes its last channel.
"""

from __future__ import annotations

import gc
import os
import warnings
from typing import Final
from weakref import WeakSet

import grpc.aio

from aioflags.runtime.fork import Lock


class GrpcKeeper:
    """The one of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_keeping = False
        self.open_channels: WeakSet[object] = WeakSet()
        """The owners of open channels, each until it is collected or removed."""
        self.is_cut_off: bool = False
        """This process was forked while a channel was open. Then gRPC cannot be used here."""

    def keep(self) -> None:
        """Start gRPC's thread unless it runs, and keep it until the process ends or forks. Call it before a channel is made."""
        with self._lock:
            if not self._is_keeping:
                self._is_keeping = True
                grpc.aio.init_grpc_aio()

    def release(self) -> None:
        """Stop gRPC's thread before a fork."""
        with self._lock:
            was_keeping, self._is_keeping = self._is_keeping, False
        if was_keeping:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                grpc.aio.shutdown_grpc_aio()
                # gRPC leaves its sockets open in a cycle; collected later, they would be reported as unclosed. While a channel is
                # open it keeps them, and a search for garbage in a large heap would block the loop at each subprocess of uvloop.
                if not self.open_channels:
                    gc.collect()

    def after_fork(self) -> None:
        """Note in the child of a fork whether a channel was open."""
        self.is_cut_off = self.is_cut_off or bool(self.open_channels)
        self.open_channels = WeakSet()


KEEPER: Final = GrpcKeeper()

if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(before=KEEPER.release, after_in_child=KEEPER.after_fork)
