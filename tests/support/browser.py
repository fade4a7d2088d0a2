"""Drives headless Chromium by the DevTools protocol over two pipes, without a driver or library."""

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

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_TIMEOUT: Final = 20.0
_CHROMIUM_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--window-size=1280,1500",
)

_LAUNCH: Final = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
"""Chromium reads DevTools commands from descriptor 3 and writes responses to descriptor 4."""


class Page:
    """A browser tab. Tests use it by keyboard, as a user does, and read its content by JavaScript."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.errors: list[str] = []
        """Errors of scripts, the network and security policies that the browser logged since :meth:`record_errors`."""

    async def begin(self) -> None:
        """Open the tab."""
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self._call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]

    async def open(self, url: str) -> None:
        """Go to a URL, and wait until it is loaded."""
        await self._call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def record_errors(self) -> None:
        """Record errors from now on."""
        await self._call("Log.enable")
        await self._call("Runtime.enable")

    async def ask(self, expression: str) -> Any:
        """Evaluate a JavaScript expression, and await its result. Fails if the expression throws."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        with anyio.move_on_after(_TIMEOUT):
            while not await self.ask(f"Boolean({expression})"):
                await asyncio.sleep(0.02)
            return
        raise AssertionError(f"never true: {expression}\n{await self.ask('document.body.innerText')}")

    async def focus(self, selector: str) -> None:
        """Wait for an element, and focus it."""
        element = f"document.querySelector({json.dumps(selector)})"
        await self.until(element)
        await self.ask(f"{element}.focus()")

    async def write(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        await self.focus(selector)
        await self.ask("document.activeElement.select()")
        await self.type(text)

    async def type(self, text: str) -> None:
        """Type text into the focused element."""
        await self._call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key: Enter, Space or Tab."""
        code, text = {"Enter": (13, "\r"), "Space": (32, " "), "Tab": (9, "")}[key]
        properties = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        await self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **properties)
        await self._call("Input.dispatchKeyEvent", type="keyUp", **properties)

    async def act(self, selector: str, key: str = "Enter") -> None:
        """Focus a control, and press a key on it."""
        await self.focus(selector)
        await self.press(key)

    async def screenshot(self) -> bytes:
        """A PNG of the whole page."""
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
    """A browser with one tab. Its processes and files are removed at the end."""
    to_browser, commands = os.pipe()
    responses, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = (CHROMIUM or "chromium", *_CHROMIUM_FLAGS, f"--user-data-dir={Path(profile)}", "--remote-debugging-pipe")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser), *arguments,
            pass_fds=(to_browser, from_browser), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(responses, "rb")
        )
        try:
            page = Page(reader, commands)
            with anyio.fail_after(3 * _TIMEOUT):
                await page.begin()
            yield page
        finally:
            transport.close()
            os.close(commands)
            process.kill()
            await process.wait()
