"""The table of flagd's options agrees with the code: each variable, the option that it sets, and the default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aioflags import FlagdConfig

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "flagd.md").read_text(encoding="utf-8")
PACKAGE = Path(__file__).parents[2] / "aioflags" / "flagd"
OPTIONS = PAGE.partition("\n## Environment variables\n")[2].partition("\n## ")[0]
ROWS: list[tuple[str, str, str]] = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|$", OPTIONS, re.MULTILINE)
OLDER = {"FLAGD_KEEP_ALIVE_TIME", "FLAGD_SOURCE_PROVIDER_ID"}
"""Names of variables that flagd has replaced."""
VALUES = {
    "resolver": "in-process",
    "tls": "true",
    "cache": "disabled",
    "fatal_codes_scope": "always",
    "sync_metadata": "off",
    "fractional_version": "2",
    "ofrep_base_url": "http://flags.example",
    "headers": "Authorization=Bearer%20abc",
}
"""A value for each variable that is neither a number nor any text."""

USED = {"port": "server_port", "ofrep_base_url": "ofrep_url"}
"""Options that keep what was given: the attribute that has the value in use."""


def variables(text: str) -> list[str]:
    """The variables that a text names."""
    return re.findall(r"\b((?:FLAGD|OFREP)_\w+)", text)


@pytest.mark.parametrize(("option", "named", "default"), ROWS, ids=[row[0] for row in ROWS])
def test_a_variable_sets_its_option(option: str, named: str, default: str) -> None:
    def value(environment: dict[str, str]) -> object:
        resolver = "in-process" if "FLAGD_SYNC_PORT" in environment else "ofrep" if "OFREP_HEADERS" in environment else None
        return getattr(FlagdConfig(resolver=resolver, environment=environment), USED.get(option, option))  # type: ignore[arg-type]

    assert variables(named)
    for name in variables(named):
        assert value({name: VALUES.get(option, "7")}) != value({})


@pytest.mark.parametrize(("option", "named", "default"), ROWS, ids=[row[0] for row in ROWS])
def test_the_default_is_the_one_on_the_page(option: str, named: str, default: str) -> None:
    value = getattr(FlagdConfig(environment={}), USED.get(option, option))
    literal = re.match(r"\s*(`[^`]+`|[\d.]+|)", default)
    assert literal is not None
    shown = literal[1].strip("`")
    address = f"http://localhost:{''.join(re.findall('[0-9]', default))}"
    assert value == (address if option == "ofrep_base_url" else eval(shown or "None"))


def test_every_variable_is_in_the_table() -> None:
    read = {name for path in PACKAGE.glob("*.py") for name in variables(path.read_text("utf-8")) if not name.endswith("_")}
    assert {name for _, named, _ in ROWS for name in variables(named)} == read - OLDER
