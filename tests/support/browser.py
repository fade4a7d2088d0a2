"""Chromium without a window, driven over two pipes by its own protocol: no driver and no library needed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

__all__ = ["CHROMIUM", "Page", "browse"]

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE: Final = 20.0
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--window-size=1280,1500",
)

_LAUNCH: Final = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
"""The protocol is spoken over descriptors 3 and 4, which is where the pipes are put."""


class Page:
    """A tab. What it is told to do, it does as a person would, with the keyboard; what it shows, it is asked in JavaScript."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.errors: list[str] = []
        """What the browser logged as errors since :meth:`record_errors`: of scripts, of the network, and of policies."""

    async def begin(self) -> None:
        """Opens the tab."""
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self._call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]

    async def open(self, url: str) -> None:
        """Goes to an address."""
        await self._call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def record_errors(self) -> None:
        """Records errors from now on."""
        await self._call("Log.enable")
        await self._call("Runtime.enable")

    async def ask(self, expression: str) -> Any:
        """The value of an expression, awaited. Fails as the expression does."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Waits until the expression is true."""
        with anyio.move_on_after(_PATIENCE):
            while not await self.ask(f"Boolean({expression})"):
                await asyncio.sleep(0.02)
            return
        raise AssertionError(f"never true: {expression}\n{await self.ask('document.body.innerText')}")

    async def focus(self, selector: str) -> None:
        """Puts the keyboard there, once it is there."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(found)
        await self.ask(f"{found}.focus()")

    async def write(self, selector: str, text: str) -> None:
        """Replaces what stands in a field."""
        await self.focus(selector)
        await self.ask("document.activeElement.select()")
        await self.type(text)

    async def type(self, text: str) -> None:
        """Writes where the keyboard is."""
        await self._call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Presses a key: Enter, Space or Tab."""
        code, text = {"Enter": (13, "\r"), "Space": (32, " "), "Tab": (9, "")}[key]
        named = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        await self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        await self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def act(self, selector: str, key: str = "Enter") -> None:
        """Goes to a control and presses it."""
        await self.focus(selector)
        await self.press(key)

    async def screenshot(self) -> bytes:
        """What it looks like, as PNG, from top to bottom."""
        answer = await self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(answer["params"]["entry"]["text"])
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


@asynccontextmanager
async def browse() -> AsyncGenerator[Page, None]:
    """A browser with one tab, which leaves nothing behind."""
    to_browser, our_end = os.pipe()
    their_end, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = (CHROMIUM or "chromium", *_FLAGS, f"--user-data-dir={Path(profile)}", "--remote-debugging-pipe")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser), *arguments,
            pass_fds=(to_browser, from_browser), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(their_end, "rb")
        )
        try:
            page = Page(reader, our_end)
            with anyio.fail_after(3 * _PATIENCE):
                await page.begin()
            yield page
        finally:
            transport.close()
            os.close(our_end)
            process.kill()
            await process.wait()
