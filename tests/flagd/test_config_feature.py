"""The options of a flagd client, as the feature file of flagd's test bed describes them.

The file lies beside the project with the other conformance data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from gherkin.parser import Parser

from aioflags.errors import ConfigError
from aioflags.flagd.config import FlagdConfig

FEATURE = Path(__file__).parents[3] / "shared" / "conformance" / "flagd" / "provider" / "gherkin" / "config.feature"
REASON = f"the conformance data is not there: {Path('..', 'shared', 'conformance')} beside the project"

NAMES: Final = {
    "deadlineMs": "deadline",
    "streamDeadlineMs": "stream_deadline",
    "keepAliveTime": "keep_alive_time",
    "retryBackoffMs": "retry_backoff",
    "retryBackoffMaxMs": "retry_backoff_max",
    "retryGracePeriod": "retry_grace_period",
    "targetUri": "target_uri",
    "certPath": "cert_path",
    "socketPath": "socket_path",
    "maxCacheSize": "max_cache_size",
    "offlineFlagSourcePath": "offline_flag_source_path",
    "offlinePollIntervalMs": "offline_poll_interval",
    "providerId": "provider_id",
    "fatalStatusCodes": "fatal_status_codes",
}
MILLISECONDS: Final = {
    "deadlineMs",
    "streamDeadlineMs",
    "keepAliveTime",
    "retryBackoffMs",
    "retryBackoffMaxMs",
    "offlinePollIntervalMs",
}
NEWER_DEFAULTS: Final = {"retryBackoffMaxMs": 5.0, "retryGracePeriod": 10.0}
"""Two defaults changed after the test bed was published: ``flagd.md`` 1.2."""


def value_of(option: str, kind: str, text: str) -> object:
    """The value that a step names, as an option has it."""
    if option in MILLISECONDS:
        return int(text) / 1000
    match kind:
        case "Integer":
            return int(text)
        case "Boolean":
            return text.lower() == "true"
        case "StringList":
            return tuple(item.strip() for item in text.split(",") if item.strip())
        case "ResolverType" | "CacheType":
            return text.lower()
        case _:
            return None if text == "null" else text


def examples() -> list[Any]:
    """Every example of every scenario: its steps, with the values of its row."""
    if not FEATURE.exists():
        return []
    document: Any = Parser().parse(FEATURE.read_text(encoding="utf-8"))
    found: list[Any] = []
    for child in document["feature"]["children"]:
        scenario = child["scenario"]
        for values in rows(scenario):
            steps = [step["text"] for step in scenario["steps"]]
            for name, value in values.items():
                steps = [text.replace(f"<{name}>", value) for text in steps]
            found.append(pytest.param(steps, id=f"{scenario['name']}: {' '.join(values.values())}"))
    return found


def rows(scenario: Any) -> list[dict[str, str]]:
    """The rows of all tables of a scenario; one empty row if it has none."""
    tables = [(table["tableHeader"], table["tableBody"]) for table in scenario["examples"]]
    return [dict(zip(cells(head), cells(row), strict=True)) for head, body in tables for row in body] or [{}]


def cells(row: Any) -> list[str]:
    """The texts of a row."""
    return [cell["value"] for cell in row["cells"]]


@pytest.mark.parametrize("steps", examples())
def test_a_scenario(steps: list[str]) -> None:
    environment: dict[str, str] = {}
    options: dict[str, Any] = {}
    made: FlagdConfig | ConfigError | None = None
    for step in steps:
        match step.split('"'):
            case ["an option ", option, " of type ", kind, " with value ", text, ""]:
                options[NAMES.get(option, option)] = value_of(option, kind, text)
            case ["an environment variable ", variable, " with value ", text, ""]:
                environment[variable] = text
            case ["a config was initialized"]:
                made = created(environment, options)
            case ["the option ", option, " of type ", kind, " should have the value ", text, ""]:
                is_default = not environment and not options
                expected = NEWER_DEFAULTS.get(option) if is_default else None
                assert getattr(made, NAMES.get(option, option)) == (expected or value_of(option, kind, text))
            case ["we should have an error"]:
                assert isinstance(made, ConfigError)
            case _:
                raise AssertionError(f"unknown step: {step}")


def created(environment: dict[str, str], options: dict[str, Any]) -> FlagdConfig | ConfigError:
    """The configuration, or the error of creating it."""
    try:
        return FlagdConfig(environment=environment, **options)
    except ConfigError as error:
        return error


@pytest.mark.skipif(not FEATURE.exists(), reason=REASON)
def test_the_file_has_all_its_scenarios() -> None:
    assert len(examples()) == 96
