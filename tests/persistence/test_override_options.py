"""FileOverrides: what can be configured, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from aioflags import ConfigError, DataSystem, FileOverrides
from aioflags.sources import Polling
from aioflags.stores import DiskStore


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        pytest.param("a.json", ["a.json"], id="one string"),
        pytest.param(Path("a.json"), ["a.json"], id="one path"),
        pytest.param(["b", Path("a")], ["b", "a"], id="several, in their order"),
        pytest.param(["a", "b", "a"], ["a", "b"], id="the same path twice"),
    ],
)
def test_paths_are_given_alone_or_as_a_sequence(paths: Any, files: list[str]) -> None:
    assert FileOverrides(paths).files == tuple(map(Path, files))


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        pytest.param([], {}, "paths: expected at least one file", id="no path"),
        pytest.param("", {}, "paths: expected the path of a file, got ''", id="an empty path"),
        pytest.param(["a", ""], {}, "paths: expected the path of a file, got ''", id="an empty path among others"),
        pytest.param(b"a", {}, "paths: expected a sequence of paths, got bytes", id="bytes"),
        pytest.param([b"a"], {}, "paths: expected str or PathLike, got bytes", id="bytes among paths"),
        pytest.param(None, {}, "paths: expected a sequence of paths, got NoneType", id="None"),
        pytest.param("a", {"on_duplicate": "last"}, "on_duplicate: expected 'fail' or 'ignore', got 'last'", id="a duplicate"),
        pytest.param("a", {"watch": 1}, "watch: expected bool, got int", id="a switch that is not a boolean"),
        pytest.param("a", {"poll_interval": "1"}, "poll_interval: expected int or float, got str", id="an interval"),
    ],
)
def test_an_invalid_option_is_refused(paths: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FileOverrides(paths, **options)
    assert str(refused.value) == message


def test_a_poll_interval_below_a_second_becomes_a_second(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert FileOverrides("a", poll_interval=0.1).poll_interval == 1
    assert caplog.messages == ["poll_interval: 0.1 is below the minimum; using 1.0"]


@pytest.mark.parametrize(
    ("options", "follows"),
    [
        pytest.param({}, True, id="watched by default"),
        pytest.param({"watch": False}, False, id="neither watched nor polled"),
        pytest.param({"watch": False, "poll_interval": 5}, True, id="polled alone"),
    ],
)
def test_edits_are_followed_if_files_are_watched_or_polled(options: dict[str, Any], follows: bool) -> None:
    assert FileOverrides("a", **options).follows_edits is follows


OVERRIDES = FileOverrides("a")


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(DataSystem.default(), id="default"),
        pytest.param(DataSystem.streaming(), id="streaming"),
        pytest.param(DataSystem.polling(60), id="polling"),
        pytest.param(DataSystem.on_demand(60), id="on demand"),
        pytest.param(DataSystem.fdv1(), id="fdv1"),
        pytest.param(DataSystem.daemon(DiskStore("/nowhere")), id="daemon"),
        pytest.param(DataSystem.persistent_store(DiskStore("/nowhere")), id="persistent store"),
        pytest.param(DataSystem.custom(synchronizers=[Polling()]), id="custom"),
    ],
)
def test_every_data_system_can_have_overrides(system: DataSystem) -> None:
    overridden = system.with_overrides(OVERRIDES)
    assert overridden.overrides is OVERRIDES
    assert system.overrides is None
    assert overridden.with_overrides(None) == system


def test_a_data_system_refuses_a_path_instead_of_overrides() -> None:
    with pytest.raises(ConfigError, match="overrides: expected FileOverrides or None, got str"):
        DataSystem(overrides="a.json")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
