"""FlagChangeLog: which flags changed on a client, to be looked at or waited for."""

from __future__ import annotations

import anyio

from aioflags.client.client import Client, internals_of
from aioflags.evaluation.snapshot import Snapshot
from aioflags.runtime.suggest import did_you_mean

__all__ = ["FlagChangeLog"]


class FlagChangeLog:
    """The keys of flags whose configuration changed, in order, prerequisites and segments counted; see :meth:`Client.changes`.

    The fixture ``flag_changes`` follows the client ``flags``; :meth:`follow` adds another one.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._news = anyio.Event()

    def follow(self, client: Client) -> None:
        """Records that client's changes, too, from now on."""
        internals_of(client).changes.add(self)

    def clear(self) -> None:
        """Forgets what changed so far."""
        self.keys.clear()

    async def wait_for(self, key: str, *, timeout: float = 5) -> None:
        """Waits until the flag has changed, be it before this call; fails after ``timeout`` seconds."""
        __tracebackhide__ = True
        with anyio.move_on_after(timeout):
            while key not in self.keys:
                await self._news.wait()
            return
        raise AssertionError(f"the flag {key!r} did not change within {timeout:g} s{self._others(key)}")

    def assert_changed(self, key: str) -> None:
        """Fails unless the flag has changed."""
        __tracebackhide__ = True
        if key not in self.keys:
            raise AssertionError(f"the flag {key!r} did not change{self._others(key)}")

    def assert_unchanged(self, key: str) -> None:
        """Fails if the flag has changed."""
        __tracebackhide__ = True
        if times := self.keys.count(key):
            raise AssertionError(f"the flag {key!r} changed, {times} times")

    def tell(self, keys: frozenset[str], snapshot: Snapshot) -> None:  # noqa: ARG002 -- for values alone
        """These changed. Called by the client."""
        self.keys += sorted(keys)
        self._wake()

    def finish(self) -> None:
        """No more will come. Called by the client."""
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _others(self, key: str) -> str:
        return (
            f"; what did: {', '.join(dict.fromkeys(self.keys))}{did_you_mean(key, self.keys, before='; ')}"
            if self.keys
            else "; none did"
        )

    def __repr__(self) -> str:
        return f"<FlagChangeLog {self.keys!r}>"
