"""Which program runs, and on which device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from aioflags import Context, MobileClient, MobileConfig
from aioflags.mobile.context_additions import (
    Application,
    Program,
    find_application,
    read_device,
    read_operating_system,
    usable_application,
)
from aioflags.runtime.version import __version__
from tests.support.canaries import KEY
from tests.support.scripted_http import Service, intent, poll_of

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
        pytest.param(Program(module="my_shop.__main__", path=""), id="python -m with a package"),
        pytest.param(Program(module="my_shop.cli.start", path=""), id="python -m with a module"),
        pytest.param(Program(module=None, path="/usr/bin/open-shop"), id="a script"),
        pytest.param(Program(module=None, path="open-shop.exe"), id="a script on Windows"),
    ],
)
def test_the_distribution_of_a_program_is_found(program: Program, shop: Application) -> None:
    assert find_application(program) == shop


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(Program(module="no_such_package", path=""), id="a package without a distribution"),
        pytest.param(Program(module=None, path="/home/me/script.py"), id="a file"),
        pytest.param(Program(module=None, path=""), id="the interactive interpreter"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_program_that_is_not_installed_is_unknown(program: Program) -> None:
    assert find_application(program) is None


def test_the_running_program_is_known() -> None:
    assert Program.running().path


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
