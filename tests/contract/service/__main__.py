"""``python -m tests.contract.service --side server``: the test service for LaunchDarkly's contract test harness."""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import get_args

from aioflags.devserver import serve
from tests.contract.service.app import SERVER_SIDE, running
from tests.contract.service.configuration import Protocol

SIDES = {"server": SERVER_SIDE}


def arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.service", description=__doc__)
    parser.add_argument("--side", choices=list(SIDES), default="server", help="which SDK's suites are to be run")
    parser.add_argument(
        "--protocol",
        choices=get_args(Protocol),
        default="fdv2",
        help="what a client speaks for which the harness names no data system; fdv1 for its branch v2",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--log-level", default="WARNING", help="log level of the clients; each logs under the name of its test")
    return parser.parse_args()


async def main(given: argparse.Namespace) -> None:
    """Serves until the harness stops the service."""
    async with (
        running(SIDES[given.side], given.protocol) as service,
        serve(service.app(), host=given.host, port=given.port) as serving,
    ):
        print(f"{given.side} side: {serving.url}", flush=True)
        await service.stopped.wait()


if __name__ == "__main__":
    given = arguments()
    logging.basicConfig(level=given.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(main(given))
