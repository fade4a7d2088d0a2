"""EnvironmentAttributes: adds the kinds ``ld_application`` and ``ld_device`` to contexts. Rules can test where a program runs.

Source: ``client-side.md`` 5.6.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from aioflags.mobile.application import Application, Program, find_application, merge_applications
from aioflags.mobile.device import Device, read_device
from aioflags.mobile.generated_keys import GeneratedKeys
from aioflags.mobile.storage_keys import digest
from aioflags.model.context import Context
from aioflags.model.defaults import STORAGE_LIMIT
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.logs import Once, describe_error

__all__ = ["EnvironmentAttributes"]

_VERSION: Final = {"envAttributesVersion": "1.0"}
_APPLICATION: Final = "ld_application"
_DEVICE: Final = "ld_device"


class EnvironmentAttributes:
    """The attributes of one client's environment. :meth:`load` reads them once, and the other methods use what it read.

    ``configured``: what the program says of itself. ``look_up`` finds the application and the device, in a thread.
    """

    def __init__(
        self,
        keys: GeneratedKeys,
        logger: logging.Logger,
        *,
        configured: Application,
        look_up: Callable[[], tuple[Application | None, Device]] | None = None,
    ) -> None:
        self._keys = keys
        self._logger = logger
        self._once = Once()
        self._look_up = look_up or _look_up
        self._kinds: tuple[Context, ...] | None = None
        self.application: Application = configured
        """The application, also for tags. Before :meth:`load` it is what is configured."""

    async def load(self) -> None:
        """Read the attributes, unless they have been read. Raises nothing."""
        if self._kinds is not None:
            return
        application, device = None, Device()
        try:
            application, device = await SerialThread("aioflags-device").run(self._look_up, timeout=STORAGE_LIMIT)
        except Exception as error:  # noqa: BLE001 -- whatever the platform raises, the client starts
            self._logger.warning("the attributes of this device are incomplete: %s", describe_error(error))
        self.application = merge_applications(self.application, application)
        key = await self._keys.get("deviceKey")
        self._kinds = (_application_kind(self.application, device.locale), _device_kind(key, device))

    async def add_to(self, context: Context) -> Context:
        """The context with both kinds; one that it has stays as it is. An invalid context stays invalid. Raises nothing."""
        await self.load()
        if not context.is_valid:
            return context
        added: list[Context] = []
        for kind in self._kinds or ():
            if context.member(kind.kind) is None:
                added.append(kind)
            elif self._once(kind.kind):
                self._logger.warning(
                    "a context has the kind %s, so the attributes of this environment are not added to it", kind.kind
                )
        return Context.multi(context, *added)


def _look_up() -> tuple[Application | None, Device]:
    return find_application(Program.running()), read_device()


def _application_kind(application: Application, locale: str | None) -> Context:
    identity = application.id or ""
    attributes = {"id": identity, "version": application.version, "versionName": application.version_name, "locale": locale}
    key = digest(identity.encode(errors="surrogatepass"))
    return Context(key, _APPLICATION, name=application.name, attributes={**_present(attributes), **_VERSION})


def _device_kind(key: str, device: Device) -> Context:
    os = _present({"family": device.os.family, "name": device.os.name, "version": device.os.version})
    attributes = {"manufacturer": device.manufacturer, "model": device.model, "os": os or None}
    return Context(key, _DEVICE, attributes={**_present(attributes), **_VERSION})


def _present(attributes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if value is not None}
