"""A source of your own: flags from a file that somebody else keeps writing.

A source is one async generator function. It yields what it finds, good or bad, and the client does the rest: it serves the
newest good data, shows the trouble in ``client.report``, and closes the generator when the program ends.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from aioflags import Client, Config, ConfigError, Context, DataSystem, ErrorInfo
from aioflags.sources import FailureKind, Selector, SourceBuilder, SourceContext, SourceState, Update, from_function, read_document

LOOK_AGAIN = 0.05  # seconds


def flag_file(path: Path) -> SourceBuilder:
    """Serves the flags in ``path``, and again whenever its text has changed."""

    async def follow(_context: SourceContext, _selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        seen = None
        while True:
            text = await asyncio.to_thread(path.read_text)
            if text != seen:
                seen = text
                try:
                    flags = read_document(text, name=path.name)
                except ConfigError as mistake:
                    error = ErrorInfo(kind=FailureKind.INVALID_DATA, message=str(mistake), time=time.time())
                    yield Update(state=SourceState.INTERRUPTED, directive=None, error=error)
                else:
                    yield Update(state=SourceState.VALID, directive=None, change_set=flags)
            await asyncio.sleep(LOOK_AGAIN)

    return from_function("flag file", follow)


async def main(path: Path) -> None:
    def publish(text: str) -> None:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)  # whole, or not at all: nobody reads half a file

    publish(banner("hello", version=1))
    config = Config(data_system=DataSystem.custom(synchronizers=[flag_file(path)]))
    user = Context("user-123")
    async with Client("", config) as client:
        print("now:", await client.variation("banner", user, "none"))

        with client.changes("banner", user) as changes:
            publish(banner("welcome", version=2))
            print("then:", (await anext(changes)).new_value)

        publish('{"flags": {"banner": }}')
        async for report in client.reports():
            if report.last_error is not None:
                print("a mistake:", report.last_error.message)
                break
        print("still:", await client.variation("banner", user, "none"))


def banner(text: str, *, version: int) -> str:
    """A document with one flag. A higher version marks a change."""
    flag = {"version": version, "on": True, "variations": [text], "fallthrough": {"variation": 0}}
    return json.dumps({"flags": {"banner": flag}})


with TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder, "flags.json")))
