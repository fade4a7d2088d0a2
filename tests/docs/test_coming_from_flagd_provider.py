"""The page for users of flagd's provider lists each of its options, and every option of aioflags on it exists."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from openfeature.contrib.provider.flagd import FlagdProvider

from aioflags import FlagdConfig

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "coming-from-flagd-provider.md").read_text(encoding="utf-8")
ROWS: list[tuple[str, str]] = re.findall(r"^\| `([a-z_]+)` \| `([a-z_]+)` \|[^|]*\|$", PAGE, re.MULTILINE)
OF_EVERY_CLIENT = {"http", "hooks", "plugins", "logger", "close_timeout", "environment"}


def test_the_table_has_each_option_of_the_provider() -> None:
    assert sorted(theirs for theirs, _ in ROWS) == sorted(inspect.signature(FlagdProvider).parameters)


def test_each_option_of_a_client_is_in_the_table_or_in_the_list_of_new_ones() -> None:
    new = set(re.findall(r"`(\w+)`", PAGE.partition("\nNew are ")[2].partition("\n")[0])) - {"ofrep"}
    ours = {field.name for field in fields(FlagdConfig) if field.init and not field.name.startswith("_")} - OF_EVERY_CLIENT
    assert {name for name in ours if not name.startswith("ofrep_")} == new | {name for _, name in ROWS}
