"""Which flags changed since an event stream last reported changes, whatever the format of the flags is."""

from __future__ import annotations

from aioflags.devserver.data.flagd_flags import read_selector
from aioflags.devserver.data.served_snapshot import ServedSnapshot
from aioflags.devserver.state import ServerState
from aioflags.model.change import ChangeKind, ChangeSet

_ANYTHING = ChangeSet(kind=ChangeKind.FULL)


class ServedChanges:
    """The changes of the flags that a selector selects. A flag of LaunchDarkly also changes with its segments and prerequisites."""

    def __init__(self, state: ServerState, selector: str | None) -> None:
        self._flagd = state.flagd
        self._selector = read_selector(selector)
        self._served = ServedSnapshot(state)
        self._view = None if self._flagd is None else self._flagd.view(self._selector)
        self._snapshot = self._served.current()

    def since_last_call(self) -> dict[str, str]:
        """What happened to each flag since the last call: ``write``, ``update`` or ``delete``."""
        if self._flagd is not None and self._view is not None:
            before, self._view = self._view, self._flagd.view(self._selector)
            return self._view.changes_since(before)
        old, self._snapshot = self._snapshot, self._served.current()
        changed = sorted(self._snapshot.changed_since(old, _ANYTHING))
        return {key: "delete" if key not in self._snapshot.flags else "update" if key in old.flags else "write" for key in changed}
