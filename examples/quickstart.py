"""One flag, evaluated for one user: no account, no network."""

import asyncio

from aioflags import Client, Context

FLAGS = {"flagValues": {"new-checkout": True}}


async def main() -> None:
    async with Client.local(FLAGS) as client:
        if await client.variation("new-checkout", Context("user-123"), False):
            print("the new checkout")
        else:
            print("the old checkout")


asyncio.run(main())
