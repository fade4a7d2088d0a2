"""Which objects the configuration accepts as plugins."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aioflags import Client, Config, ConfigError, FlagdConfig, Hook
from aioflags.plugins import EnvironmentMetadata, Plugin
from tests.plugins.recording_plugins import USER, RecordingPlugin, client_with


async def test_a_plugin_may_omit_get_hooks_and_register() -> None:
    class Lazy(Plugin):
        name = "lazy"

    async with client_with(Lazy()) as client:
        assert await client.variation("f", USER, 0) == 1


class Nameless(Plugin):
    """Has no name and no methods."""


class Numbered(Plugin):
    """Has a name that is not a string."""

    name = 7  # type: ignore[assignment]  # the mistake


class Unreadable(Plugin):
    """Has a name that raises when it is read."""

    @property
    def name(self) -> str:  # type: ignore[override]  # as some do
        raise ValueError("not today")


class Metadata:
    """Looks like a plugin of LaunchDarkly's SDK: the name is in its metadata."""

    @property
    def metadata(self) -> str:
        return "metadata"

    def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
        return []

    def register(self, client: Client, environment: EnvironmentMetadata) -> None: ...


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        pytest.param(
            [print], r"plugins: builtin_function_or_method is not a plugin \(it has no method get_hooks\)", id="a function"
        ),
        pytest.param(
            [RecordingPlugin],
            r"plugins: RecordingPlugin is a class; expected a plugin, made by calling it: RecordingPlugin\(…\)",
            id="a class",
        ),
        pytest.param([Hook()], r"plugins: aioflags.Hook is not a plugin \(it has no method get_hooks\)", id="a hook"),
        pytest.param({}, "plugins: expected a sequence of Plugin, got dict", id="a mapping"),
        pytest.param("ab", "plugins: expected a sequence of Plugin, got str", id="text"),
        pytest.param(
            [cast("type", Nameless)()],
            r"plugins: tests.plugins.test_plugin.Nameless is not a plugin \(it has no attribute name\)",
            id="a plugin without a name",
        ),
        pytest.param(
            [Metadata()],
            r"plugins: tests.plugins.test_plugin.Metadata is not a plugin \(it has no attribute name\)",
            id="a plugin of another SDK",
        ),
        pytest.param(
            [Unreadable()],
            r"plugins: tests.plugins.test_plugin.Unreadable is not a plugin \(reading its name raised ValueError: not today\)",
            id="a name that raises",
        ),
        pytest.param(
            [Numbered()],
            r"plugins: tests.plugins.test_plugin.Numbered is not a plugin \(its name is not a string but int\)",
            id="a name that is not a string",
        ),
    ],
)
def test_an_object_that_is_not_a_plugin_is_refused(plugins: Any, problem: str) -> None:
    for config in (Config, FlagdConfig):
        with pytest.raises(ConfigError, match=f"^{problem}$"):
            config(plugins=plugins)


def test_a_class_with_the_members_of_a_plugin_is_accepted() -> None:
    class Foreign:
        name = "foreign"

        def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
            return []

        def register(self, client: Client, environment: EnvironmentMetadata) -> None: ...

    assert len(Config(plugins=[Foreign()]).plugins) == 1
