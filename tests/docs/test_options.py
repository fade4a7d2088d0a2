"""The page of options says what the code does: every option, its default, and what becomes of what cannot be used."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import aioflags
from aioflags import ConfigError, sources, stores
from tests.scripted_memberships import ScriptedMemberships

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
NAMES = {**{name: getattr(aioflags, name) for name in aioflags.__all__}, "logging": logging}
NEEDED: dict[str, dict[str, Any]] = {
    "BigSegments": {"store": ScriptedMemberships()},
    "DiskStore": {"path": "flags"},
    "Persistence": {"store": stores.RedisStore()},
}
"""Options without which a part cannot be made."""

NO_PRINTABLE_ASCII = ("a\r\nX: y", "\x00", "ü")
REFUSED: dict[str, tuple[object, ...]] = {
    "no http address": (
        "localhost:80",
        "ftp://x",
        "http://h:99999",
        "http://h:0",
        "http://h:port",
        "http://[::1",
        "http://",
        "http:///path",
    ),
    "not printable ASCII": NO_PRINTABLE_ASCII,
    "keys that are no strings": ({1: 2},),
    "another word": ("sometimes", ""),
    "no proxy's address": ("proxy", "ftp://proxy", "http://proxy:port"),
    "empty": ("",),
    "no origin": (["flags.example"], ["https://a/path"], "https://a"),
    "no address of Redis": ("localhost", "http://x"),
}
"""What stands for a cause, each of which has to be refused."""
REPLACED: dict[str, tuple[float, ...]] = {
    "not above 0": (0, -1, math.nan, math.inf),
    "not finite": (math.nan, math.inf),
    "below 0": (-1,),
    "below 0.1": (1e-9, 0.09),
    "below 30": (1, 29.9),
    "below 60": (1, 59.9),
}
"""What stands for a cause, each of which has to become another number, with a warning."""
WHOLE = {"max_response_bytes", "max_event_bytes", "context_cache_size", "events_max_pending", "context_keys_capacity"}
"""Options that are whole numbers; any other is of another type."""
RULES = {
    **dict.fromkeys(("Config.base_uri", "Config.stream_uri", "Config.events_uri"), "CS-O2"),
    **dict.fromkeys((f"{part}.initial_reconnect_delay" for part in ("DataSystem", "Streaming", "Fdv1Streaming")), "CS-O4"),
    **dict.fromkeys(
        ("DataSystem.poll_interval", "Polling.interval", "Fdv1FallbackOptions.interval", "Fdv1Polling.interval"), "CS-O5"
    ),
    **dict.fromkeys(("DataSystem.persistence", "Persistence.store", "Persistence.mode"), "CS-O7"),
    "Config.data_system": "CS-O8",
    "DataSystem.fdv1_fallback_recovery": "CS-O9",
    "Config.payload_filter_key": "CS-O10",
    "Config.offline": "CS-O11",
    "Config.defaults": "CS-O12",
    "Events.send_events": "CS-O13",
    "Events.events_max_pending": "CS-O14",
    "Events.flush_interval": "CS-O15",
    "Events.enable_event_compression": "CS-O16",
    "Events.private_attributes": "CS-O17",
    "Events.all_attributes_private": "CS-O18",
    "Events.omit_anonymous_contexts": "CS-O19",
    "Events.context_keys_capacity": "CS-O20",
    "Events.context_keys_flush_interval": "CS-O21",
    "Events.diagnostic_opt_out": "CS-O22",
    "Events.diagnostic_recording_interval": "CS-O23",
    **dict.fromkeys(("Config.wrapper_name", "Config.wrapper_version"), "CS-O24"),
    **dict.fromkeys(("Config.application_id", "Config.application_version"), "CS-O25"),
    **dict.fromkeys(("Config.http", *(f"Http.{option}" for option in ("connect_timeout", "read_timeout"))), "CS-O26"),
    **dict.fromkeys(("Config.big_segments", "BigSegments.store"), "CS-O27"),
    "Config.hooks": "CS-O28",
    "Config.plugins": "CS-O29",
    "Config.logger": "CS-O30",
    "Config.start_wait": "CS-O31",
    "Config.close_timeout": "CS-O32",
}
"""The rules that the tests of an option hold."""
LATER = {"not sent", "left out"}
"""Fates that are seen elsewhere: tests of requests and events have them."""


@dataclass(frozen=True)
class Row:
    """What the page says of an option."""

    part: str
    option: str
    default: str
    fates: tuple[tuple[str, str], ...]

    def made(self, **given: object) -> Any:
        """The part with these options."""
        return PARTS[self.part](**{**NEEDED.get(self.part, {}), **given})

    def value(self, text: str) -> object:
        """What a cell means."""
        return eval(text, NAMES)

    def __str__(self) -> str:
        name = f"{self.part}.{self.option}"
        return f"{RULES[name]} {name}" if name in RULES else name


def rows() -> Iterator[Row]:
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        part = section.partition("\n")[0].strip()
        for option, default, unusable, _ in ROW.findall(section):
            fates = [cause.rpartition(": ") for cause in unusable.strip().split("; ") if cause]
            yield Row(part, option, default.strip().strip("`"), tuple((cause, fate) for cause, _, fate in fates))


def parts() -> dict[str, Any]:
    """Everything that a configuration is made of: what ``Config`` holds, and what describes sources and stores."""
    named = {name: getattr(module, name) for module in (aioflags, sources, stores) for name in module.__all__}
    found = {name: thing for name, thing in named.items() if hasattr(thing, "build") or hasattr(thing, "build_memberships")}
    open_ends = ["Config"]
    while open_ends:
        name = open_ends.pop()
        found[name] = named[name]
        mentioned = {word for field in fields(named[name]) for word in re.findall(r"\w+", str(field.type))}
        open_ends += [word for word in mentioned & named.keys() - found.keys() if is_dataclass(named[word])]
    return {name: thing for name, thing in found.items() if is_dataclass(thing)}


PARTS = parts()
ROWS = list(rows())


def options(part: Any) -> list[str]:
    """What may be given."""
    return [field.name for field in fields(part) if field.init and not field.name.startswith("_")]


def cases(wanted: Callable[[str, str], bool]) -> list[Any]:
    """Each row with a cause and its fate, if they are wanted."""
    return [pytest.param(row, *case, id=f"{row} {case[0]}") for row in ROWS for case in row.fates if wanted(*case)]


def test_the_page_has_each_part_with_its_options_in_order() -> None:
    assert {row.part for row in ROWS} == set(PARTS)
    for name, part in PARTS.items():
        assert [row.option for row in ROWS if row.part == name] == options(part)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_default_is_as_written(row: Row) -> None:
    if row.default:
        assert getattr(row.made(), row.option) == row.value(row.default)
    else:
        with pytest.raises(TypeError, match=row.option):
            PARTS[row.part]()


@pytest.mark.parametrize("row", [row for row in ROWS if not row.option.startswith("application_")], ids=str)
def test_what_is_of_another_type_is_refused_by_the_name_of_the_option(row: Row) -> None:
    with pytest.raises(ConfigError, match=rf"^{row.option}: "):
        row.made(**{row.option: object()})


def test_what_the_page_says_of_the_unusable_is_looked_into() -> None:
    unknown = [row for row in ROWS for cause, fate in row.fates if fate not in LATER and cause not in {*REFUSED, *REPLACED}]
    assert unknown == []


@pytest.mark.parametrize(("row", "cause", "fate"), cases(lambda cause, fate: fate == "refused"))
def test_what_cannot_be_meant_is_refused(row: Row, cause: str, fate: str) -> None:
    for value in REFUSED[cause]:
        with pytest.raises(ConfigError, match=rf"^{row.option}: "):
            row.made(**{row.option: value})


@pytest.mark.parametrize(("row", "cause", "fate"), cases(lambda cause, fate: cause in REPLACED))
def test_a_number_that_cannot_be_used_is_replaced(row: Row, cause: str, fate: str, caplog: pytest.LogCaptureFixture) -> None:
    used = row.value(row.default if fate == "the default" else fate)
    for value in REPLACED[cause]:
        number = int(value) if row.option in WHOLE and math.isfinite(value) else value
        if row.option in WHOLE and not math.isfinite(value):
            continue
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert getattr(row.made(**{row.option: number}), row.option) == used
        assert row.option in caplog.text
