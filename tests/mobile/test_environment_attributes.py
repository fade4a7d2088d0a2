"""EnvironmentAttributes: the kinds ld_application and ld_device."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.mobile.context_additions import Application, Device, EnvironmentAttributes
from aioflags.mobile.flag_cache import GeneratedKeys, digest
from aioflags.model.context import Context
from aioflags.runtime.version import __version__
from aioflags.stores.storage import MemoryStorage, Storage
from tests.support.device_storages import LOGGER, device_storage

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
