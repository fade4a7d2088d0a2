"""Listeners: tasks that follow changes, and post them to the harness."""

from __future__ import annotations

from typing import Any

from anyio.abc import TaskGroup

from aioflags import Client, Context, FlagChange, ValueChange
from aioflags.client.flag_changes import Changes
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.service_params import Params

__all__ = ["Listeners", "RegisterFlagChangeListenerParams", "RegisterFlagValueChangeListenerParams", "UnregisterListenerParams"]


class RegisterFlagChangeListenerParams(Params):
    listener_id: str
    callback_uri: str


class RegisterFlagValueChangeListenerParams(Params):
    listener_id: str
    callback_uri: str
    flag_key: str
    context: dict[str, Any]


class UnregisterListenerParams(Params):
    listener_id: str


class Listeners:
    """Those of one client, by the names that the harness gives them. One that is registered again replaces the first."""

    def __init__(self, client: Client, callbacks: Callbacks, tasks: TaskGroup) -> None:
        self._client = client
        self._callbacks = callbacks
        self._tasks = tasks
        self._followed: dict[str, Changes[Any]] = {}

    def follow_flags(self, params: RegisterFlagChangeListenerParams) -> None:
        """Every flag's configuration."""
        self._follow(params.listener_id, params.callback_uri, self._client.changes())

    def follow_value(self, params: RegisterFlagValueChangeListenerParams) -> None:
        """One flag's value for one context."""
        changes = self._client.changes(params.flag_key, Context.from_dict(params.context))
        self._follow(params.listener_id, params.callback_uri, changes)

    def _follow(self, listener_id: str, uri: str, changes: Changes[Any]) -> None:
        self.unregister(listener_id)
        self._followed[listener_id] = changes
        self._tasks.start_soon(self._post, listener_id, uri, changes)

    async def _post(self, listener_id: str, uri: str, changes: Changes[FlagChange | ValueChange]) -> None:
        async for change in changes:
            told: dict[str, Any] = {"listenerId": listener_id, "flagKey": change.key}
            if isinstance(change, ValueChange):
                told |= {"oldValue": change.old_value, "newValue": change.new_value}
            await self._callbacks.tell(uri, told)

    def unregister(self, listener_id: str) -> bool:
        """Ends one; answers whether it was there."""
        changes = self._followed.pop(listener_id, None)
        if changes is not None:
            changes.close()
        return changes is not None

    def close(self) -> None:
        """Ends all of them."""
        for listener_id in list(self._followed):
            self.unregister(listener_id)
