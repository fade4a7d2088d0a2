"""A worker that asks a flag before each batch, and works until it receives a signal.

Run it with the key of an environment, or against the development server (docs/how-to/worker.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key python worker.py
"""

import asyncio
import logging
import signal

from aioflags import Client, Context

WORKER = Context("worker-1", kind="worker")


async def work(client: Client) -> None:
    while True:
        size = await client.variation("batch-size", WORKER, 10)
        print(f"a batch of {size}", flush=True)
        await asyncio.sleep(1)


async def follow(client: Client) -> None:
    async for change in client.changes("batch-size", WORKER):
        print(f"from {change.old_value} to {change.new_value}", flush=True)


async def main() -> None:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or it logs every request
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Client.from_env() as client, asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(work(client)), tasks.create_task(follow(client))]
        await stop.wait()
        for job in jobs:
            job.cancel()


if __name__ == "__main__":
    asyncio.run(main())
