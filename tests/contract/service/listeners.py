"""Listeners: tasks that follow changes, and post them to the harness."""

from __future__ import annotations

from typing import Any

from anyio.abc import TaskGroup

from aioflags import Client, Context, FlagChange, ValueChange
from aioflags.client_core.observers import ClientIterator
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.service_params import Params


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
    """The listeners of one client, by the names that the harness gives them. A second with the same name replaces the first."""

    def __init__(self, client: Client, callbacks: Callbacks, tasks: TaskGroup) -> None:
        self._client = client
        self._callbacks = callbacks
        self._tasks = tasks
        self._followed: dict[str, ClientIterator[Any]] = {}

    def follow_flags(self, params: RegisterFlagChangeListenerParams) -> None:
        """Follow the definitions of all flags."""
        self._follow(params.listener_id, params.callback_uri, self._client.changes())

    def follow_value(self, params: RegisterFlagValueChangeListenerParams) -> None:
        """Follow the value of one flag for one context."""
        changes = self._client.changes(params.flag_key, Context.from_dict(params.context))
        self._follow(params.listener_id, params.callback_uri, changes)

    def _follow(self, listener_id: str, uri: str, changes: ClientIterator[Any]) -> None:
        self.unregister(listener_id)
        self._followed[listener_id] = changes
        self._tasks.start_soon(self._post, listener_id, uri, changes)

    async def _post(self, listener_id: str, uri: str, changes: ClientIterator[FlagChange | ValueChange]) -> None:
        async for change in changes:
            body: dict[str, Any] = {"listenerId": listener_id, "flagKey": change.key}
            if isinstance(change, ValueChange):
                body |= {"oldValue": change.old_value, "newValue": change.new_value}
            await self._callbacks.notify(uri, body)

    def unregister(self, listener_id: str) -> bool:
        """End one listener, and return whether it was registered."""
        changes = self._followed.pop(listener_id, None)
        if changes is not None:
            changes.close()
        return changes is not None

    def close(self) -> None:
        """End all listeners."""
        for listener_id in list(self._followed):
            self.unregister(listener_id)
