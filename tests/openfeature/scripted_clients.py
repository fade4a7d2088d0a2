"""ScriptedClient: a client whose only source yields what the test sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from aioflags import Client, Config, DataSystem, ErrorInfo, Events
from aioflags.model.status import FailureKind, SourceState
from aioflags.sources import SourceContext, Update, from_function, read_document

__all__ = ["DOWN", "REFUSED", "ScriptedClient"]

DOWN: Final = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="the network is down", time=1.0)
REFUSED: Final = ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="the key was refused", time=1.0, status_code=401)


class ScriptedClient(Client):
    """A client without data until the test sends some. Its start does not wait."""

    def __init__(self, *, start_wait: float = 0.0) -> None:
        updates: asyncio.Queue[Update] = asyncio.Queue()

        async def sync(_context: SourceContext, _selector: object) -> AsyncGenerator[Update, None]:
            while True:
                yield await updates.get()

        self.updates = updates
        system = DataSystem.custom(synchronizers=[from_function("scripted", sync)], refused_retry="never")
        super().__init__("", Config(data_system=system, events=Events(send_events=False), start_wait=start_wait))

    def send(self, flags: Mapping[str, object]) -> None:
        """Data arrive: these values of flags, and no others."""
        change_set = read_document({"flagValues": flags})
        self.updates.put_nowait(Update(state=SourceState.VALID, directive=None, change_set=change_set))

    def interrupt(self) -> None:
        """The connection is lost."""
        self.updates.put_nowait(Update(state=SourceState.INTERRUPTED, directive=None, error=DOWN))

    def refuse(self) -> None:
        """The service refuses the client for good."""
        self.updates.put_nowait(Update(state=SourceState.OFF, directive=None, error=REFUSED))
