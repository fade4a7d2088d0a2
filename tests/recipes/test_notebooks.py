"""The recipe of notebooks.md in a real kernel of Jupyter, whose loop runs between two cells."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aioflags.testing import FlagsService
from tests.recipes.recipe import PATIENCE, until_tracked
from tests.support.canaries import KEY

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ipykernel") is None, reason="ipykernel is not installed on this interpreter"),
]


class Notebook:
    """Cells that run in a kernel."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def run(self, cell: str) -> str:
        """What the cell prints, and its error if it raises one."""
        printed: list[str] = []

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] in {"stream", "error"}:
                printed.append(content.get("text") or f"{content['ename']}: {content['evalue']}")

        await self._client.execute_interactive(cell, output_hook=keep, timeout=PATIENCE)
        return "".join(printed)


@asynccontextmanager
async def kernel(folder: Path, service: FlagsService) -> AsyncGenerator[Notebook]:
    """A kernel that reads the addresses of the service from its environment."""
    from jupyter_client.manager import AsyncKernelManager

    places = {f"LAUNCHDARKLY_{place}_URI": service.url for place in ("BASE", "STREAM", "EVENTS")}
    of_jupyter = {f"{name}_DIR": str(folder) for name in ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "IPYTHON")}
    manager = AsyncKernelManager(transport="ipc", ip=str(folder / "kernel"))
    # Threads and sockets of loopback: without it, the kernel looks for a debugger, and for a history on the disk.
    await manager.start_kernel(
        cwd=str(folder),
        env={**os.environ, **places, **of_jupyter, "LAUNCHDARKLY_SDK_KEY": KEY},
        extra_arguments=["--HistoryManager.enabled=False"],
    )
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(client)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
        manager.context.destroy()


async def test_a_client_in_a_kernel_follows_flags_between_two_cells(flags_service: FlagsService, tmp_path: Path) -> None:
    flags_service.set("new-checkout", False)
    async with kernel(tmp_path, flags_service) as notebook:
        await notebook.run("from aioflags import Client, Context\nclient = await Client.from_env()\nANNA = Context('anna')")
        shown = "print(client.variation_nowait('new-checkout', ANNA, False))"
        assert await notebook.run(shown) == "False\n"
        await flags_service.until_streaming(1, timeout=PATIENCE)
        flags_service.set("new-checkout", True)
        while await notebook.run(shown) != "True\n":  # no cell awaits anything
            pass
        error = await notebook.run("import asyncio\nasyncio.run(client.variation('new-checkout', ANNA, False))")
        assert error.startswith("RuntimeError: asyncio.run() cannot be called from a running event loop")
        await notebook.run("client.track('seen', ANNA)\nprint(await client.flush_and_wait(5))")
        await until_tracked(flags_service, ["anna"])
        assert await notebook.run("await client.aclose()\nprint(client.status.value)") == "NOT_READY\n"
