"""The page of options agrees with the code: every option, its default, and the treatment of invalid values."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import aioflags
from aioflags import ConfigError, Context, mobile, sources, stores
from tests.support.scripted_memberships import ScriptedMemberships

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
NAMES = {
    **{name: getattr(aioflags, name) for name in aioflags.__all__},
    "logging": logging,
    "Fdv1FallbackOptions": sources.Fdv1FallbackOptions,
}
NEEDED: dict[str, dict[str, Any]] = {
    "BigSegments": {"store": ScriptedMemberships()},
    "DiskStore": {"path": "flags"},
    "DynamoDBStore": {"table": "flags"},
    "FileOverrides": {"paths": "overrides.json"},
    "FlagdConfig": {"environment": {}},
    "Persistence": {"store": stores.RedisStore()},
}
"""Options that a part cannot be constructed without, and flagd's environment variables, which must not be those of the machine."""
IN_THE_TEXT = {"environment"}
"""Options that the text above their table describes."""
UNCHECKED = {"Config.application_id", "Config.application_version"}
"""Options that accept any type and are reported later."""


async def _later(given: Any) -> Any:
    """A coroutine function where a plain one is expected."""
    return given


NOT_HTTP = (
    "localhost:80",
    "ftp://x",
    "http://h:99999",
    "http://h:0",
    "http://h:port",
    "http://[::1",
    "http://",
    "http:///path",
    "https://anna:secret@flags.example",
)
NOT_PRINTABLE = ("a\r\nX: y", "\x00", "ü")
UNKNOWN_WORDS = ("sometimes", "")
NOT_A_DURATION = (-1, math.nan, math.inf, 1.1e9, 10**5000)
NOT_AN_INTERVAL = (0, *NOT_A_DURATION)
NOT_A_COUNT = (0, -1)
REFUSED: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("base_uri", "stream_uri", "events_uri", "endpoint_url"), NOT_HTTP),
    **dict.fromkeys(("wrapper_name", "wrapper_version"), NOT_PRINTABLE),
    **dict.fromkeys(("fdv1_fallback_recovery", "refused_retry", "mode", "cache", "on_duplicate"), UNKNOWN_WORDS),
    "defaults": ({1: 2},),
    "start_wait": NOT_A_DURATION,
    "http_proxy": ("proxy", "ftp://proxy", "http://proxy:port"),
    "path": ("",),
    "table": ("",),
    "paths": ((), "", ["a", ""]),
    "redirect_origins": (["flags.example"], ["https://a/path"], "https://a"),
    "url": ("localhost", "http://x"),
    "ConsulStore.url": NOT_HTTP,
    "ConsulStore.prefix": ("a/", "/a", "a//b", "..", "a/./b"),
    **dict.fromkeys(("token", "datacenter", "namespace"), NOT_PRINTABLE),
    # mobile
    **dict.fromkeys(("profile", "initial_connection_mode"), UNKNOWN_WORDS),
    "modes": ({"sometimes": mobile.ModeDefinition()},),
    "ModeDefinition.fdv1_fallback": ("sometimes", sources.Fdv1FallbackOptions()),
    "max_cached_contexts": (-1,),
    "storage": ("",),
    "bootstrap": ({1: 2},),
    "secondary_mobile_keys": ({"default": "mob-2"}, {"a": "mob-2", "b": "mob-2"}),
    "debounce": NOT_A_DURATION,
    # intervals and counts
    **dict.fromkeys(
        (
            *("close_timeout", "cache_ttl", "connect_timeout", "read_timeout", "timeout", "initial_reconnect_delay"),
            *("context_cache_time", "status_poll_interval", "stale_after", "poll_interval", "interval"),
            *("flush_interval", "context_keys_flush_interval", "diagnostic_recording_interval"),
        ),
        NOT_AN_INTERVAL,
    ),
    **dict.fromkeys(("max_response_bytes", "max_event_bytes", "events_max_pending", "context_cache_size"), NOT_A_COUNT),
    "context_keys_capacity": (-1,),
    # flagd
    "host": ("http://flagd", "flagd:8013", "a b"),
    **dict.fromkeys(("ca_certs", "cert_file", "cert_path", "socket_path", "offline_flag_source_path"), ("", "a\x00b")),
    "provider_id": ("\ud800",),
    "context_enricher": (_later, "text"),
    "channel_credentials": ("text",),
    "interceptors": ([1], "text"),
    **dict.fromkeys(("resolver", "fatal_codes_scope", "sync_metadata"), UNKNOWN_WORDS),
    **dict.fromkeys(
        ("deadline", "stream_deadline", "retry_backoff", "retry_backoff_max", "retry_grace_period", "keep_alive_time"),
        NOT_A_DURATION,
    ),
    **dict.fromkeys(("selector", "default_authority"), ("a\r\nX: y", "\x00")),
    **dict.fromkeys(("offline_poll_interval", "ofrep_timeout"), NOT_AN_INTERVAL),
    "port": (0, -1, 65536),
    "target_uri": ("ftp://x", "envoy://x", ""),
    "max_cache_size": (-1,),
    "fractional_version": (1, 4),
    "max_message_bytes": (0, -1, 2**31),
    "ofrep_base_url": NOT_HTTP,
    "headers": ({"X-A": "a\r\nX: y"},),
    "ofrep_context": (Context.multi(Context("a"), Context("b", kind="org")),),
    "ofrep_poll_interval": (*NOT_A_DURATION, 5),
}
"""Option → invalid values, each of which raises ``ConfigError``."""

RAISED: dict[str, tuple[tuple[float, ...], float]] = {
    **dict.fromkeys(("flush_interval", "context_keys_flush_interval"), ((1e-9, 0.09), 0.1)),
    "FileOverrides.poll_interval": ((0.1, 0.9), 1),
    **dict.fromkeys(("poll_interval", "interval"), ((1, 29.9), 30)),
    "diagnostic_recording_interval": ((1, 59.9), 60),
    "MobileEvents.diagnostic_recording_interval": ((1, 299.9), 300),
}
"""Option → numbers below its minimum, and the minimum. A name with its part comes before one without."""
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
"""The rules that the tests of an option check."""


@dataclass(frozen=True)
class Row:
    """The row of an option on the page."""

    part: str
    option: str
    default: str
    invalid: str

    def made(self, **given: object) -> Any:
        """The part with these options."""
        return PARTS[self.part](**{**NEEDED.get(self.part, {}), **given})

    @property
    def raised(self) -> tuple[tuple[float, ...], float] | None:
        """Its row of :data:`RAISED`."""
        return RAISED.get(f"{self.part}.{self.option}", RAISED.get(self.option))

    @property
    def refused(self) -> tuple[object, ...] | None:
        """Its row of :data:`REFUSED`."""
        return REFUSED.get(f"{self.part}.{self.option}", REFUSED.get(self.option))

    def value(self, text: str) -> object:
        """The value that a cell describes."""
        return eval(text, NAMES)

    def __str__(self) -> str:
        name = f"{self.part}.{self.option}"
        return f"{RULES[name]} {name}" if name in RULES else name


def rows() -> Iterator[Row]:
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        part = section.partition("\n")[0].strip()
        for option, default, invalid, _ in ROW.findall(section):
            yield Row(part, option, default.strip().strip("`"), invalid.strip())


def parts() -> dict[str, Any]:
    """Every part of a configuration: the values of ``Config``, and the builders of sources and stores."""
    named = {name: getattr(module, name) for module in (aioflags, mobile, sources, stores) for name in module.__all__}
    found = {name: thing for name, thing in named.items() if hasattr(thing, "build") or hasattr(thing, "build_memberships")}
    open_ends = ["Config", "FlagdConfig", "MobileConfig"]
    while open_ends:
        name = open_ends.pop()
        found[name] = named[name]
        mentioned = {word for field in fields(named[name]) for word in re.findall(r"\w+", str(field.type))}
        open_ends += [word for word in mentioned & named.keys() - found.keys() if is_dataclass(named[word])]
    return {name: thing for name, thing in found.items() if is_dataclass(thing) and fields(thing)}


PARTS = parts()
ROWS = list(rows())


def options(part: Any) -> list[str]:
    """The names of the options of a part."""
    names = [field.name for field in fields(part) if field.init and not field.name.startswith("_")]
    return [name for name in names if name not in IN_THE_TEXT]


def test_the_page_has_each_part_with_its_options_in_order() -> None:
    assert {row.part for row in ROWS} == set(PARTS)
    for name, part in PARTS.items():
        assert [row.option for row in ROWS if row.part == name] == options(part)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_default_is_the_one_on_the_page(row: Row) -> None:
    if row.option == "context_enricher":
        assert row.made().context_enricher({"region": "eu"}) == {"region": "eu"}
    elif row.default:
        assert getattr(row.made(), row.option) == row.value(row.default)
    else:
        with pytest.raises(TypeError, match=row.option):
            PARTS[row.part]()


@pytest.mark.parametrize("row", [row for row in ROWS if f"{row.part}.{row.option}" not in UNCHECKED], ids=str)
def test_a_value_of_another_type_is_refused_by_the_name_of_the_option(row: Row) -> None:
    with pytest.raises(ConfigError, match=rf"^{row.option}: "):
        row.made(**{row.option: object()})


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused is not None], ids=str)
def test_an_invalid_value_is_refused_by_the_name_of_the_option(row: Row) -> None:
    for value in row.refused or ():
        with pytest.raises(ConfigError, match=rf"^{row.option}: "):
            row.made(**{row.option: value})


@pytest.mark.parametrize("row", [row for row in ROWS if row.raised is not None], ids=str)
def test_a_number_below_the_minimum_is_raised_to_it_with_a_warning(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    assert row.raised is not None
    values, minimum = row.raised
    for value in values:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert getattr(row.made(**{row.option: value}), row.option) == minimum
        assert row.option in caplog.text


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_page_describes_the_treatment_of_invalid_values(row: Row) -> None:
    assert ("`ConfigError`" in row.invalid) == (row.refused is not None)
    raised = None if row.raised is None else f"below {row.raised[1]}: {row.raised[1]}"
    assert raised is None or raised in row.invalid
