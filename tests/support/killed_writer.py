"""Kills a program while it writes a file of flags, again and again, at each system call, and checks that the file is whole.

``python -m tests.support.killed_writer FILE COUNT`` prints how often it was killed, and where.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aioflags.model.change import ObjectKind
from aioflags.stores import DiskStore, Store, StoreContext, StoredItem

CONTEXT = StoreContext(environment="e" * 64)
TEXT = b"x" * 20_000
ITEMS = 30
"""Enough for a file that takes three writes."""


class Deadly:
    """Functions of ``os`` that kill the process in the middle of call number ``at``."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            self._left -= 1
            if self._left:
                return real(*args)
            if name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            return os.kill(os.getpid(), signal.SIGKILL)

        return call


def generation(number: int) -> list[StoredItem]:
    return [StoredItem(ObjectKind.FLAG, f"flag-{n}", number, TEXT) for n in range(ITEMS)]


async def write(store: Store, items: Sequence[StoredItem], *, whole: bool) -> None:
    await (store.replace({ObjectKind.FLAG: {item.key: item for item in items}}) if whole else store.upsert(items))


async def read_generation(path: Path) -> int:
    """The generation in the file; fails if there are two, or only a part of one."""
    store = DiskStore(path).build(CONTEXT)
    assert await store.initialized()
    items = (await store.load())[ObjectKind.FLAG]
    (number,) = {item.version for item in items.values()}
    assert len(items) == ITEMS
    return number


def main(path: Path, count: int) -> Counter[str]:
    outcomes = Counter[str]()
    asyncio.run(write(DiskStore(path).build(CONTEXT), generation(1), whole=True))
    number, at = 1, 1
    while outcomes.total() < count:
        child = os.fork()
        if child == 0:
            deadly: Any = Deadly(at)
            store = DiskStore(path, _system=deadly).build(CONTEXT)
            asyncio.run(write(store, generation(number + 1), whole=outcomes.total() % 2 == 0))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        now = asyncio.run(read_generation(path))
        assert now in {number, number + 1}, f"{now} after {number}"
        if os.WIFSIGNALED(status):
            outcomes["the new one" if now > number else "the old one"] += 1
            at += 1
        else:
            assert os.WEXITSTATUS(status) == 0
            assert now == number + 1
            at = 1
        number = now
    return outcomes


if __name__ == "__main__":
    logging.basicConfig()
    print(dict(main(Path(sys.argv[1]), int(sys.argv[2]))))
