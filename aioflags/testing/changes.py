"""FlagChangeLog: records which flags changed on a client, and waits for a change."""

from __future__ import annotations

import anyio

from aioflags.client_core.core_client import CoreClient
from aioflags.client_core.parts import internals_of
from aioflags.evaluation.snapshot import Snapshot
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.process_bound import ProcessBound
from aioflags.runtime.suggest import did_you_mean

__all__ = ["FlagChangeLog"]


class FlagChangeLog(ProcessBound):
    """The keys of flags whose configuration changed, in order. As in :meth:`Client.changes`, prerequisites and segments count.

    The fixture ``flag_changes`` follows the clients ``flags`` and ``mobile_flags``; :meth:`follow` adds another one.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._changed = Signal()

    def follow(self, client: CoreClient) -> None:
        """Record the changes of another client, from now on."""
        internals_of(client).changes.add(self)

    def clear(self) -> None:
        """Forget the recorded changes."""
        self.keys.clear()

    async def wait_for(self, key: str, *, timeout: float = 5) -> None:
        """Wait until the flag has changed, before or after this call. Fails after ``timeout`` seconds."""
        __tracebackhide__ = True
        with anyio.move_on_after(timeout):
            while key not in self.keys:
                await self._changed.wait()
            return
        raise AssertionError(f"the flag {key!r} did not change within {timeout:g} s{self._others(key)}")

    def assert_changed(self, key: str) -> None:
        """Fail unless the flag has changed."""
        __tracebackhide__ = True
        if key not in self.keys:
            raise AssertionError(f"the flag {key!r} did not change{self._others(key)}")

    def assert_unchanged(self, key: str) -> None:
        """Fail if the flag has changed."""
        __tracebackhide__ = True
        if times := self.keys.count(key):
            raise AssertionError(f"the flag {key!r} changed, {times} times")

    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None:  # noqa: ARG002 -- needed by followers of values only
        """Record changed flags. Called by the client."""
        self.keys += sorted(keys)
        self._changed.send()

    def finish(self) -> None:
        """The client is closed: no more changes. Called by the client."""
        self._changed.send()

    def _others(self, key: str) -> str:
        return (
            f"; changed flags: {', '.join(dict.fromkeys(self.keys))}{did_you_mean(key, self.keys, before='; ')}"
            if self.keys
            else "; no flag changed"
        )

    def __repr__(self) -> str:
        return f"<FlagChangeLog {self.keys!r}>"
