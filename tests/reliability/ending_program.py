"""A program that ends while a look-up of a name hangs: ``python -m tests.reliability.ending_program KIND END``."""

from __future__ import annotations

import asyncio
import sys
import warnings

from tests.reliability.peers import PEERS, client_for
from tests.support.name_lookups import watch_look_ups

ENDS = ("aclose", "no close", "an exception")
"""How the program ends."""


async def _main(kind: str, end: str) -> None:
    async with PEERS["a name server that does not answer"](kind) as address:
        client = client_for(kind, address)
        await client.start(0.2)
        print("ends", flush=True)
        if end == "aclose":
            await client.aclose()
        if end == "an exception":
            raise SystemExit(3)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)  # of the client that is not closed
    watch_look_ups()
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
