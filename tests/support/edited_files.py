"""What people and programs do to the files that are read here: write, remove, and put something else in their place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Edit: TypeAlias = Callable[[Path], object]


def write(path: Path, document: object) -> Path:
    """Write text, or a document as JSON."""
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def values(**flags: object) -> dict[str, object]:
    """A document with flags that have these values."""
    return {"flagValues": flags}


def writing(document: object) -> Edit:
    return lambda path: write(path, document)


def rewriting(change: Callable[[bytes], bytes]) -> Edit:
    """Write what ``change`` makes of the contents."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def remove(path: Path) -> None:
    """Remove a file, a link or an empty folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def make_fifo(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def make_huge(path: Path) -> None:
    """A terabyte that takes no space."""
    path.touch()
    os.truncate(path, 1 << 40)
