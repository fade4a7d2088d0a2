"""Replaces a file atomically: readers see the old contents or the new ones, never a part.

Links are followed, and the new file has the mode and the owner of the old one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

__all__ = ["replace_file"]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def replace_file(path: Path, data: bytes) -> None:
    """Give the file these contents; it may be new. It blocks. Raises ``OSError``; then the file has its old contents."""
    target = path.resolve()
    new = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    # What may be secret is not readable for others, not even before the new file has the mode of the old one.
    mode = 0o600 if target.exists() else 0o666  # the umask applies
    descriptor = os.open(new, _CREATE, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Closed by now: Windows neither moves nor removes a file that is open.
        _keep_access(new, target)
        new.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _keep_access(new: Path, old: Path) -> None:
    try:
        status = old.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "chown"):
        # Only root may give files away. Root edits the files of others, who could not read them any more otherwise. Other users
        # may give them to their groups, through which a service may read them.
        for owner in (-1, status.st_uid):
            with contextlib.suppress(OSError):
                os.chown(new, owner, status.st_gid)
    new.chmod(status.st_mode & 0o7777)
