"""``python -m tests.contract.service --side server`` or ``client``: the test service for LaunchDarkly's contract test harness."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from dataclasses import replace
from typing import get_args

from aioflags.devserver import serve
from tests.contract.service.app import running
from tests.contract.service.client_side import client_side
from tests.contract.service.configuration import Protocol
from tests.contract.service.server_side import server_side
from tests.contract.service.side import Side


def arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.service", description=__doc__)
    parser.add_argument("--side", choices=["server", "client"], default="server", help="which SDK's suites are to be run")
    parser.add_argument(
        "--protocol",
        choices=get_args(Protocol),
        default="fdv2",
        help="what a server-side client speaks for which the harness names no data system; fdv1 for its branch v2",
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="CAPABILITY", help="do not declare this capability; may be repeated"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--log-level", default="WARNING", help="log level of the clients; each logs under the name of its test")
    return parser.parse_args()


def side(given: argparse.Namespace) -> Side:
    """The SDK, with the capabilities that it is to declare."""
    chosen = client_side() if given.side == "client" else server_side(given.protocol)
    return replace(chosen, capabilities=tuple(each for each in chosen.capabilities if each not in given.without))


async def main(given: argparse.Namespace) -> None:
    """Serves until the harness stops the service."""
    async with (
        running(side(given)) as service,
        serve(service.app(), host=given.host, port=given.port) as serving,
    ):
        print(f"{given.side} side: {serving.url}", flush=True)
        await service.stopped.wait()


if __name__ == "__main__":
    # A local DynamoDB takes any credentials, but not none.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "local")
    given = arguments()
    logging.basicConfig(level=given.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(main(given))
