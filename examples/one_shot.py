"""A script that runs once: it polls the flags, does its work, sends its events, and ends.

Run it with the key of an environment, or against the development server (docs/how-to/scripts.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key python one_shot.py
"""

import asyncio
import logging

from aioflags import Client, Config, Context

JOB = Context("nightly", kind="job")


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    client = Client.from_env(Config().one_shot(deadline=20))
    async with client:
        size = await client.variation("batch-size", JOB, 10)
        print(f"a batch of {size}", flush=True)
        client.track("done", JOB, metric_value=size)
    print(f"{client.stats.events_sent} events sent, {client.stats.events_dropped} lost", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
