"""flagd without Docker: a server that speaks flagd's protocol, a client, and an outage, on real sockets of this machine.

Run: pip install "aioflags[demo,flagd]"; python flagd_demo.py
"""

import asyncio
import logging
import os

from aioflags import Context, EventKind, FlagdClient, FlagdConfig
from aioflags.testing import FakeFlagd

ANNA = Context("anna", attributes={"plan": "pro"})
FOR_PROS = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]},
}


async def show(step: str, client: FlagdClient) -> None:
    detail = await client.variation_detail("new-checkout", ANNA, False)
    print(f"{step}: {client.status}, new-checkout is {detail.value} ({detail.reason.kind})")


async def main() -> None:
    logging.getLogger("aioflags").setLevel(logging.CRITICAL)  # the program prints what the client would log
    async with FakeFlagd({"flags": {"new-checkout": FOR_PROS}}) as flagd:
        config = FlagdConfig(resolver="in-process", port=flagd.sync_port, deadline=5, retry_backoff=0.1, retry_backoff_max=0.1)
        async with FlagdClient(config) as client, client.events() as events:

            async def reached(kind: EventKind) -> None:
                while (await anext(events)).kind is not kind:
                    pass

            await show("connected", client)
            flagd.put("new-checkout", {**FOR_PROS, "state": "DISABLED"})
            await reached(EventKind.CONFIGURATION_CHANGED)
            await show("flag disabled", client)
            await flagd.stop()
            await reached(EventKind.STALE)
            await show("flagd stopped", client)
            flagd.put("new-checkout", FOR_PROS)
            await flagd.start()
            await reached(EventKind.CONFIGURATION_CHANGED)
            await show("flagd is back", client)


os.environ["no_proxy"] = "127.0.0.1,localhost"  # gRPC obeys http_proxy; this server is on this machine
asyncio.run(main())
