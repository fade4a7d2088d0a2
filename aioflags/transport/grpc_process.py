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


class _Keeper:
    def __init__(self) -> None:
        self._lock = Lock()
        self._is_keeping = False
        self.open_channels: WeakSet[object] = WeakSet()
        """Their owners."""
        self.is_cut_off: bool = False

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

    def after_fork(self) -> None:
        """In the child of a fork."""
        self.is_cut_off = self.is_cut_off or bool(self.open_channels)
        self.open_channels = WeakSet()


_KEEPER: Final = _Keeper()


def keep_grpc_running() -> None:
    """Start gRPC's thread unless it runs, and keep it until the process ends or forks. Call it before a channel is made."""
    _KEEPER.keep()


def channel_opened(owner: object) -> None:
    """``owner`` has a channel, until :func:`channel_closed` or until it is collected."""
    _KEEPER.open_channels.add(owner)


def channel_closed(owner: object) -> None:
    """The channel of ``owner`` is closed."""
    _KEEPER.open_channels.discard(owner)


def is_cut_off() -> bool:
    """Whether this process was forked while a channel was open. Then gRPC cannot be used here."""
    return _KEEPER.is_cut_off


if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(before=_KEEPER.release, after_in_child=_KEEPER.after_fork)
