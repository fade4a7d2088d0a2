"""Worker processes that use a client: ``python -m tests.reliability.workers METHOD KIND ADDRESS COUNT``.

``METHOD`` is a start method of :mod:`multiprocessing`, or ``fork after start``. With a fork, the workers use the client that their
parent made, as with gunicorn's ``--preload``; otherwise each makes its own. A worker succeeds if it sees a change of the flag. At
most eight run at the same time. With ``fork under load`` threads of the parent evaluate and record events all the time.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import random
import sys
import threading
import warnings
from typing import Any, Final

from aioflags import Client, Context, MobileClient
from tests.reliability.kinds import AnyClient, make_client, value_now

_LIMIT = 5.0
"""Seconds from the start of a worker's client to the change that it sees."""
_AT_ONCE = 8
_THREADS = 2
importlib.import_module("aioflags.transport.clients")  # the first client imports it, which takes seconds on a busy machine
_clients: list[AnyClient] = []
"""The client of the parent."""
_ANNA: Final = Context("anna")


async def _see_a_change(client: AnyClient) -> None:
    async with asyncio.timeout(_LIMIT), client:
        await client.wait_ready()
        first = value_now(client, "f", _ANNA, -1)
        while value_now(client, "f", _ANNA, -1) in {first, -1}:
            await asyncio.sleep(0.01)


def _work(kind: str, address: str) -> None:
    # Where the child of a fork began in a running loop, that loop is not its own.
    asyncio.events._set_running_loop(None)
    with asyncio.Runner() as runner:
        runner.run(_see_a_change(_clients[0] if _clients else make_client(kind, address, _ANNA)))


def _use(client: AnyClient, ended: threading.Event) -> None:
    """Evaluates and records without a pause: some of its locks are held at nearly every moment."""
    while not ended.is_set():
        context = Context(f"user {random.randrange(1000)}")
        value_now(client, "f", context, -1)
        if isinstance(client, MobileClient):
            client.track("used")
        elif isinstance(client, Client):
            client.track("used", context)


async def _main(method: str, kind: str, address: str, count: int) -> int:
    """The number of workers that failed."""
    processes: Any = multiprocessing.get_context(method.split(maxsplit=1)[0])
    ended = threading.Event()
    if method.startswith("fork") and method != "forkserver":
        _clients.append(make_client(kind, address, _ANNA))
        if " " in method:
            await _clients[0].start()
        if "load" in method:
            for _ in range(_THREADS):
                threading.Thread(target=_use, args=(_clients[0], ended)).start()
    failed = 0
    for first in range(0, count, _AT_ONCE):
        workers = [processes.Process(target=_work, args=(kind, address)) for _ in range(min(_AT_ONCE, count - first))]
        for worker in workers:
            worker.start()
        for worker in workers:
            await asyncio.to_thread(worker.join, 60)
        failed += sum(worker.exitcode != 0 for worker in workers)
    ended.set()
    for client in _clients:
        await client.aclose()
    return min(failed, 99)  # an exit status has eight bits


if __name__ == "__main__":
    logging.disable()
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    sys.exit(asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
