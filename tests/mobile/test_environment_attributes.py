"""EnvironmentAttributes: the kinds ld_application and ld_device, and how the program and the device are found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from aioflags import MobileClient, MobileConfig
from aioflags.mobile.context_additions import (
    Application,
    Device,
    EnvironmentAttributes,
    find_application,
    read_device,
    read_operating_system,
    usable_application,
)
from aioflags.mobile.flag_cache import GeneratedKeys, digest
from aioflags.model.context import Context
from aioflags.runtime.version import __version__
from aioflags.stores.storage import MemoryStorage, Storage
from tests.support.canaries import KEY
from tests.support.device_storages import LOGGER, device_storage
from tests.support.scripted_http import Service, intent, poll_of

ANNA = Context("anna", attributes={"plan": "pro"})
NOTHING = Application()
FOUND = Application(id="shop", name="Shop", version="1.2")
PI = Device(manufacturer="Raspberry Pi", model="4", os={"family": "Linux", "name": "Debian", "version": "12"}, locale="de-DE")


def attributes_of(
    configured: Application = NOTHING, found: Application | None = FOUND, device: Device = PI, storage: Storage | None = None
) -> EnvironmentAttributes:
    keys = GeneratedKeys(device_storage(storage), LOGGER)
    return EnvironmentAttributes(keys, LOGGER, configured=configured, look_up=lambda: (found, device))


async def test_a_context_gets_both_kinds() -> None:
    """S-88."""
    storage = MemoryStorage()
    context = await attributes_of(storage=storage).add_to(ANNA)
    assert context.to_dict() == {
        "kind": "multi",
        "user": {"key": "anna", "plan": "pro"},
        "ld_application": {
            "key": digest(b"shop"),
            "id": "shop",
            "name": "Shop",
            "version": "1.2",
            "versionName": "1.2",
            "locale": "de-DE",
            "envAttributesVersion": "1.0",
        },
        "ld_device": {
            "key": await storage.get("aioflags_device", "deviceKey"),
            "manufacturer": "Raspberry Pi",
            "model": "4",
            "os": {"family": "Linux", "name": "Debian", "version": "12"},
            "envAttributesVersion": "1.0",
        },
    }


async def test_what_is_unknown_is_left_out() -> None:
    data = (await attributes_of(Application(id="x"), None, Device(os={"family": "Plan 9"})).add_to(ANNA)).to_dict()
    assert data["ld_application"] == {"key": digest(b"x"), "id": "x", "envAttributesVersion": "1.0"}
    assert data["ld_device"] == {"key": data["ld_device"]["key"], "os": {"family": "Plan 9"}, "envAttributesVersion": "1.0"}
    empty = (await attributes_of(device=Device()).add_to(ANNA)).to_dict()
    assert empty["ld_device"].keys() == {"key", "envAttributesVersion"}


@pytest.mark.parametrize("kind", ["ld_application", "ld_device"])
async def test_a_kind_of_the_program_stays_as_it_is(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """S-88."""
    own = Context("own", kind, attributes={"id": "mine"})
    attributes = attributes_of()
    for context, kinds in [
        (own, {"ld_application", "ld_device"}),
        (Context.multi(own, ANNA), {"user", "ld_application", "ld_device"}),
    ]:
        added = await attributes.add_to(context)
        assert {member.kind for member in added} == kinds
        assert added.member(kind) == own
    assert caplog.messages == [f"a context has the kind {kind}, so the attributes of this environment are not added to it"]


async def test_a_context_of_several_kinds_keeps_them() -> None:
    context = await attributes_of().add_to(Context.multi(ANNA, Context("o", "org")))
    assert [member.kind for member in context] == ["ld_application", "ld_device", "org", "user"]


async def test_an_invalid_context_stays_invalid() -> None:
    invalid = Context("")
    assert await attributes_of().add_to(invalid) is invalid


async def test_the_keys_are_the_same_in_the_next_run() -> None:
    storage = MemoryStorage()
    first, second = [await attributes_of(storage=storage).add_to(ANNA) for _ in range(2)]
    assert first == second


@pytest.mark.parametrize(
    ("configured", "found", "application"),
    [
        pytest.param(NOTHING, FOUND, Application(id="shop", name="Shop", version="1.2", version_name="1.2"), id="what was found"),
        pytest.param(
            Application(id="x", name="X", version="3", version_name="three"),
            FOUND,
            Application(id="x", name="X", version="3", version_name="three"),
            id="what is configured",
        ),
        pytest.param(
            Application(id="x", version="3"),
            FOUND,
            Application(id="x", name="Shop", version="3", version_name="3"),
            id="what is configured, completed by what was found",
        ),
        pytest.param(Application(id="x"), None, Application(id="x"), id="an id alone"),
        pytest.param(
            NOTHING,
            None,
            Application(id="aioflags", name="aioflags", version=__version__, version_name=__version__),
            id="the SDK, if nothing is known",
        ),
        pytest.param(
            Application(version="3"),
            None,
            Application(id="aioflags", name="aioflags", version="3", version_name="3"),
            id="the SDK with a configured version",
        ),
    ],
)
async def test_the_application_is(configured: Application, found: Application | None, application: Application) -> None:
    attributes = attributes_of(configured, found)
    assert attributes.application == configured
    await attributes.load()
    assert attributes.application == application


def fail() -> Any:
    raise OSError("no such platform")


async def test_a_look_up_that_fails_leaves_the_required_attributes(caplog: pytest.LogCaptureFixture) -> None:
    keys = GeneratedKeys(device_storage(), LOGGER)
    attributes = EnvironmentAttributes(keys, LOGGER, configured=NOTHING, look_up=fail)
    for _ in range(2):
        data = (await attributes.add_to(ANNA)).to_dict()
        assert data["ld_device"].keys() == {"key", "envAttributesVersion"}
        assert data["ld_application"]["id"] == "aioflags"
    assert caplog.messages == ["the attributes of this device are incomplete: OSError: no such platform"]


@pytest.mark.real_time
async def test_the_attributes_of_this_device_have_what_rules_need() -> None:
    attributes = EnvironmentAttributes(GeneratedKeys(device_storage(), LOGGER), LOGGER, configured=Application(id="x"))
    data = (await attributes.add_to(ANNA)).to_dict()
    assert data["ld_application"]["id"] == "x"
    assert data["ld_device"]["os"]["family"]


# -- which program runs, and on which device


METADATA = "Metadata-Version: 2.1\nName: my shop\nVersion: 1.2+local\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """An installed distribution with the package ``my_shop`` and the script ``open-shop``."""
    info = tmp_path / "my_shop-1.2.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(METADATA, encoding="utf-8")
    info.joinpath("entry_points.txt").write_text("[console_scripts]\nopen-shop = my_shop:main\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return Application(id="my-shop", name="my-shop", version="1.2-local")


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(("my_shop.__main__", ""), id="python -m with a package"),
        pytest.param(("my_shop.cli.start", ""), id="python -m with a module"),
        pytest.param((None, "/usr/bin/open-shop"), id="a script"),
        pytest.param((None, "open-shop.exe"), id="a script on Windows"),
    ],
)
def test_the_distribution_of_a_program_is_found(program: tuple[str | None, str], shop: Application) -> None:
    assert find_application(*program) == shop


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(("no_such_package", ""), id="a package without a distribution"),
        pytest.param((None, "/home/me/script.py"), id="a file"),
        pytest.param((None, ""), id="the interactive interpreter"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_program_that_is_not_installed_is_unknown(program: tuple[str | None, str]) -> None:
    assert find_application(*program) is None


@pytest.mark.parametrize(
    ("configured", "is_used"),
    [
        pytest.param(Application(id="shop", name="My Shop", version="1.2"), True, id="an application"),
        pytest.param(Application(version="1.2"), True, id="a version alone"),
        pytest.param(Application(id="", version="1.2"), True, id="an empty id"),
        pytest.param(Application(id="shop", version="1 2"), True, id="a bad version"),
        pytest.param(Application(id="my shop", name="Shop", version="1.2"), False, id="a bad id"),
        pytest.param(Application(id="x" * 65, version="1.2"), False, id="an id that is too long"),
    ],
)
def test_an_application_with_a_bad_id_is_not_used(configured: Application, is_used: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert usable_application(configured, logging.getLogger("test")) == (configured if is_used else None)
    refusal = (
        "application_id: not used, expected 1 to 64 of the characters A-Z a-z 0-9 . _ -; "
        "the other options of the application are not used either"
    )
    assert caplog.messages == ([] if is_used else [refusal])


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        pytest.param({"application_id": "shop", "application_version": "1 2"}, "application-id/shop", id="with a bad version"),
        pytest.param(
            {"application_id": "my shop", "application_version": "1.2"},
            f"application-id/aioflags application-name/aioflags application-version/{__version__}",
            id="with a bad id",
        ),
    ],
)
async def test_requests_have_the_tags_of_an_application(options: dict[str, Any], tags: str) -> None:
    service = Service(poll_of(intent("none")))
    async with MobileClient(KEY, Context("anna"), MobileConfig(http=service.http(), initial_connection_mode="polling", **options)):
        pass
    assert service.requests[0].headers["X-LaunchDarkly-Tags"] == tags


def place(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = (
            root
            / {
                "vendor": "sys/class/dmi/id/sys_vendor",
                "product": "sys/class/dmi/id/product_name",
                "tree": "proc/device-tree/model",
            }[name]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "device"),
    [
        pytest.param({"vendor": "LENOVO\n", "product": "20XW\n"}, ("LENOVO", "20XW"), id="a laptop"),
        pytest.param({"tree": "Raspberry Pi 4 Model B Rev 1.1\0"}, (None, "Raspberry Pi 4 Model B Rev 1.1"), id="a board"),
        pytest.param({"vendor": "To Be Filled By O.E.M.\n", "product": "System Product Name"}, (None, None), id="placeholders"),
        pytest.param({"vendor": "\n", "product": ""}, (None, None), id="empty files"),
        pytest.param({"vendor": "x" * 5000}, (None, None), id="a file that is too long"),
        pytest.param({}, (None, None), id="no files"),
    ],
)
def test_the_device_is_read_from_its_firmware(tmp_path: Path, files: dict[str, Any], device: tuple[str | None, str | None]) -> None:
    found = read_device(place(tmp_path, **files), "Linux")
    assert (found.manufacturer, found.model) == device
    assert found.os["name"]


@pytest.mark.parametrize(
    ("system", "family", "name"),
    [
        pytest.param("Darwin", "Apple", "macOS", id="macOS"),
        pytest.param("Windows", "Windows", "Windows", id="Windows"),
        pytest.param("FreeBSD", "FreeBSD", "FreeBSD", id="another system"),
        pytest.param("", None, None, id="an unknown system"),
    ],
)
def test_the_operating_system_is_named(system: str, family: str | None, name: str | None) -> None:
    found = read_operating_system(system)
    assert (found["family"], found["name"]) == (family, name)


@pytest.mark.parametrize(("system", "manufacturer"), [("Darwin", "Apple"), ("Windows", None)])
def test_systems_without_such_files_have_no_model(tmp_path: Path, system: str, manufacturer: str | None) -> None:
    found = read_device(place(tmp_path, vendor="Other", product="Other"), system)
    assert (found.manufacturer, found.model) == (manufacturer, None)


def test_this_device_can_be_read() -> None:
    assert read_device().os["family"]
