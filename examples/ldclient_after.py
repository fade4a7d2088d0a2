"""The program of ldclient_before.py on aioflags.

Run: pip install aioflags && python ldclient_after.py
"""

import asyncio

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.sources import MemorySource

FLAGS = MemorySource()  # stands in for the service: Client("sdk-your-key") alone would connect to it
FLAGS.update(FLAGS.flag("new-checkout").if_match("country", "de").then_return(True).fallthrough_variation(False))
FLAGS.update(FLAGS.flag("greeting").value_for_all("hello"))


async def show(client: Client, user: Context) -> None:
    if await client.variation("new-checkout", user, False):
        print("the new checkout")
    detail = await client.variation_detail("new-checkout", user, False)
    print("because of rule", detail.reason.rule_index)
    flags = await client.flags(user)
    print("all flags:", flags.all())


async def main() -> None:
    config = Config(data_system=DataSystem.custom(synchronizers=[FLAGS]), events=Events(send_events=False))
    async with Client("sdk-your-key", config) as client:
        if not client.is_initialized:
            print("no flags yet: defaults")
        user = Context("user-123", name="Ada", attributes={"country": "de"})
        await show(client, user)
        with client.changes("greeting", user) as changes:
            FLAGS.update(FLAGS.flag("greeting").value_for_all("welcome"))
            change = await anext(changes)
        print("greeting:", change.new_value)


if __name__ == "__main__":
    asyncio.run(main())
