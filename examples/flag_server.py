"""A flag server inside a program, on free ports: flagd's protocols, a change, and a fault.

Run: pip install "aioflags[demo,flagd]"; python flag_server.py
"""

import asyncio

from aioflags import Context, FlagdClient, FlagdConfig
from aioflags.devserver import Fault, FaultKind, ServerState, create_app, serve, serve_flagd

THEME = {"state": "ENABLED", "variants": {"dark": "#000", "light": "#fff"}, "defaultVariant": "dark"}


async def ask(config: FlagdConfig) -> str:
    """What another program would do: connect, and evaluate the flag."""
    async with FlagdClient(config) as client:
        detail = await client.variation_detail("theme", Context("anna"), "#888")
        return f"{detail.value} ({detail.reason.kind})"


async def main() -> None:
    state = ServerState.of({"flags": {"theme": THEME}})
    async with serve_flagd(state) as flagd, serve(create_app(state)) as http:
        print(f"listening: rpc on port {flagd.port}, in-process on port {flagd.sync_port}, OFREP at {http.url}")
        rpc = FlagdConfig(port=flagd.port, deadline=5, environment={})  # seconds; the machine may be busy
        in_process = FlagdConfig(resolver="in-process", port=flagd.sync_port, environment={})
        ofrep = FlagdConfig(resolver="ofrep", ofrep_base_url=http.url, environment={})
        for config in (rpc, in_process, ofrep):
            print(f"{config.resolver}: {await ask(config)}")
        state.put("theme", {**THEME, "defaultVariant": "light"})
        print(f"changed: {await ask(rpc)}")
        state.inject(Fault(kind=FaultKind.STATUS, status=503, times=1))
        print(f"one fault: {await ask(ofrep)}")
        print(f"over: {await ask(ofrep)}")


asyncio.run(main())
