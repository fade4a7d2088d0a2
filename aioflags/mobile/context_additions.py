"""What a client adds to contexts before it uses them: keys of anonymous ones, attributes of the program and the device.

Source: ``client-side.md`` 5.2, 5.5, I-4.
"""

from __future__ import annotations

import locale
import logging
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from pathlib import Path, PurePath
from typing import Final

from aioflags.mobile.flag_cache import GeneratedKeys, digest
from aioflags.model.context import Context
from aioflags.model.defaults import STORAGE_LIMIT
from aioflags.protocol.requests import usable_tag
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.files import read_regular
from aioflags.runtime.logs import Once, describe_error
from aioflags.runtime.version import __version__

# -- Application: which program runs, for context attributes and tags.
# Source: ``client-side.md`` 5.6.


_SCRIPT_GROUPS: Final = ("console_scripts", "gui_scripts")
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What is known of a program. ``id`` identifies it, ``name`` and ``version_name`` are for people."""

    id: str | None = None
    name: str | None = None
    version: str | None = None
    version_name: str | None = None

    @property
    def tags(self) -> dict[str, str | None]:
        """The values by option, for the tags of requests."""
        return {
            "application_id": self.id,
            "application_name": self.name,
            "application_version": self.version,
            "application_version_name": self.version_name,
        }


THIS_SDK: Final = Application(id="aioflags", name="aioflags", version=__version__)
"""What requests and contexts name if the application is unknown."""


def usable_application(configured: Application, logger: logging.Logger) -> Application | None:
    """What is configured; ``None``, and a warning, if its id cannot be a tag. The rest would count for another application."""
    if not configured.id or usable_tag(configured.id):
        return configured
    logger.warning(
        "application_id: not used, expected 1 to 64 of the characters A-Z a-z 0-9 . _ -; "
        "the other options of the application are not used either"
    )
    return None


def merge_applications(configured: Application, installed: Application | None) -> Application:
    """What is configured, completed by what is installed; if both lack an id, by this SDK's name and version."""
    if installed is None:
        is_known = configured.id is not None
        installed = Application() if is_known else THIS_SDK
    version = configured.version or installed.version
    return Application(
        id=configured.id or installed.id,
        name=configured.name or installed.name,
        version=version,
        version_name=configured.version_name or version,
    )


def find_application(module: str | None, path: str) -> Application | None:
    """The distribution of a program: of the ``module`` of ``python -m``, or of the script at ``path``. Blocks: reads files.

    ``None`` if no distribution has it. The values have only characters that a tag may have.
    """
    try:
        package = _distribution(module, path)
    except (PackageNotFoundError, OSError, ValueError):
        return None
    if package is None:
        return None
    name = _as_tag(package.metadata["Name"])
    return Application(id=name, name=name, version=_as_tag(package.version))


def _distribution(module: str | None, path: str) -> Distribution | None:
    if module:
        return distribution(module.partition(".")[0])
    name = PurePath(path).name.removesuffix(".exe")
    scripts = [script for group in _SCRIPT_GROUPS for script in entry_points(group=group, name=name)]
    return scripts[0].dist if scripts else None


def _as_tag(text: str) -> str:
    return _NOT_IN_TAGS.sub("-", text)[:64]


# -- Device: which computer a program runs on, for context attributes.
# Source: ``client-side.md`` 5.6.


_MAX_BYTES: Final = 4096
_PLACEHOLDERS: Final = frozenset(
    {
        "default string",
        "none",
        "not applicable",
        "not specified",
        "system manufacturer",
        "system product name",
        "to be filled by o.e.m.",
        "undefined",
        "unknown",
    }
)
"""What a firmware has if its maker filled in nothing, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of a device. ``locale`` is the one of the process, such as ``en-US``.

    ``os``: family, name and version of the operating system, such as ``Linux``, ``Ubuntu``, ``22.04``.
    """

    manufacturer: str | None = None
    model: str | None = None
    os: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    locale: str | None = None


def read_device(root: Path = Path("/"), system: str | None = None) -> Device:
    """The device that the program runs on. Blocks: reads files below ``root``."""
    operating_system = read_operating_system(platform.system() if system is None else system)
    manufacturer: str | None = None
    model: str | None = None
    if operating_system["family"] == "Apple":
        manufacturer = "Apple"
    elif operating_system["family"] == "Linux":
        firmware = root / "sys/class/dmi/id"
        manufacturer, model = _text(firmware / "sys_vendor"), _text(firmware / "product_name")
        # Boards without such a firmware, such as the Raspberry Pi, have a device tree.
        model = model or _text(root / "proc/device-tree/model")
    return Device(manufacturer=manufacturer, model=model, os=operating_system, locale=_locale())


def read_operating_system(system: str) -> dict[str, str | None]:
    """The operating system. ``system`` is what :func:`platform.system` returns. Blocks: reads a file."""
    match system:
        case "Darwin":
            return {"family": "Apple", "name": "macOS", "version": platform.mac_ver()[0] or None}
        case "Linux":
            try:
                release = platform.freedesktop_os_release()
            except OSError:
                release = {}
            return {"family": "Linux", "name": release.get("NAME", "Linux"), "version": release.get("VERSION_ID")}
        case _:
            return {"family": system or None, "name": system or None, "version": platform.version() or None}


def _text(path: Path) -> str | None:
    """The text of a file on one line; ``None`` if it has no useful text."""
    try:
        text = read_regular(path, limit=_MAX_BYTES).decode(errors="replace").strip("\0 \n\t")
    except OSError:
        return None
    return None if text.lower() in _PLACEHOLDERS else text or None


def _locale() -> str | None:
    try:
        name = locale.getlocale()[0]
    except ValueError:  # an unknown name in the environment
        return None
    return None if name is None else name.replace("_", "-")


# -- EnvironmentAttributes: adds the kinds ``ld_application`` and ``ld_device`` to contexts. Rules can test where a program
# runs.
# Source: ``client-side.md`` 5.6.


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
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return find_application(getattr(spec, "name", None), sys.argv[0] if sys.argv else ""), read_device()


def _application_kind(application: Application, locale: str | None) -> Context:
    identity = application.id or ""
    attributes = {"id": identity, "version": application.version, "versionName": application.version_name, "locale": locale}
    key = digest(identity.encode(errors="surrogatepass"))
    return Context(key, _APPLICATION, name=application.name, attributes={**_present(attributes), **_VERSION})


def _device_kind(key: str, device: Device) -> Context:
    attributes = {"manufacturer": device.manufacturer, "model": device.model, "os": _present(device.os) or None}
    return Context(key, _DEVICE, attributes={**_present(attributes), **_VERSION})


def _present(attributes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if value is not None}


class ContextAdditions:
    """What one client adds to contexts.

    Args:
        keys: The keys of the device, one for each anonymous kind.
        replaces_keys: Anonymous contexts get a generated key even if they have one.
        adds_environment: Contexts get the kinds ``ld_application`` and ``ld_device``.
        application: What the options of the client say about the program.
        logger: The client's logger.
    """

    def __init__(
        self,
        keys: GeneratedKeys,
        *,
        replaces_keys: bool,
        adds_environment: bool,
        application: Application,
        logger: logging.Logger,
    ) -> None:
        self._keys = keys
        self._replaces_keys = replaces_keys
        self._attributes = EnvironmentAttributes(keys, logger, configured=application) if adds_environment else None

    async def find_application(self) -> Application | None:
        """The application, for tags, if its attributes are added to contexts. Raises nothing."""
        if self._attributes is None:
            return None
        await self._attributes.load()
        return self._attributes.application

    def is_complete(self, context: Context) -> bool:
        """Whether :meth:`complete` changes nothing, because a valid context lacks nothing."""
        return context.is_valid and self._attributes is None and not any(self._needs_key(member) for member in context)

    async def complete(self, context: Context) -> Context:
        """The context with a key for each anonymous kind, and with attributes. Raises nothing.

        It stays invalid if anything else is wrong.
        """
        if any(self._needs_key(member) for member in _members(context)):
            context = Context.multi(*[await self._with_key(member) for member in _members(context)])
        return context if self._attributes is None else await self._attributes.add_to(context)

    def _needs_key(self, member: Context) -> bool:
        return member.anonymous and (self._replaces_keys or member.is_keyless)

    async def _with_key(self, member: Context) -> Context:
        if not self._needs_key(member):
            return member
        return Context(
            await self._keys.get(f"anonKey_{member.kind}"),
            member.kind,
            name=member.name,
            anonymous=True,
            attributes=member.attributes,
            private=member.private,
        )


def _members(context: Context) -> tuple[Context, ...]:
    """The kinds of a context, also of one that lacks keys."""
    return context.unkeyed or ((context,) if context.is_keyless else tuple(context))
