"""edit_lock: two programs that edit a file do so one after the other, so that neither loses what the other wrote."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

__all__ = ["LOCK_WAIT", "edit_lock"]

LOCK_WAIT: Final = 10.0
"""Seconds to wait for another edit. An edit takes milliseconds."""
_STEP: Final = 0.02


@contextlib.contextmanager
def edit_lock(path: Path, *, max_wait: float = LOCK_WAIT) -> Generator[None, None, None]:
    """Hold this from reading the file until it is replaced. It blocks, and leaves no file behind.

    The folder is locked: a lock of the file would be that of the replaced one. Without effect on Windows, on file systems without
    such locks, and for a folder that cannot be opened.

    Raises:
        OSError: another program holds the lock for longer than ``max_wait`` seconds.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            _lock(importlib.import_module("fcntl"), path, stack, max_wait)
        yield


def _lock(fcntl: Any, path: Path, stack: contextlib.ExitStack, max_wait: float) -> None:
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return  # reading or writing the file will report what matters
    stack.callback(os.close, folder)
    deadline = time.monotonic() + max_wait
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(
                    errno.EAGAIN, f"another program has been editing in this folder for {max_wait:g} s", str(path)
                ) from None
            time.sleep(_STEP)
        except OSError:
            return
        else:
            return
