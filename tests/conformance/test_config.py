"""flagd's feature file about options, against FlagdConfig."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.config_options import CONFIG_STEPS, OPTIONS, Configured
from tests.conformance.features import Case, Step, cases_of, needs_data, parameters
from tests.conformance.steps import Steps

STEPS = Steps[Configured](CONFIG_STEPS)

NEWER_DEFAULTS = {
    ("retryBackoffMaxMs", "12000"): "5000",
    ("retryGracePeriod", "5"): "10",
}
"""Defaults that upstream changed after this version of the file: the option and its old default, and the new one."""


def updated(case: Case) -> Case:
    """The case with upstream's newer defaults."""
    if case.name != "Default Config":
        return case
    return replace(case, steps=tuple(_updated(step) for step in case.steps))


def _updated(step: Step) -> Step:
    for (option, old), new in NEWER_DEFAULTS.items():
        if f'"{option}"' in step.text:
            assert f'"{old}"' in step.text, "the file has the newer default now: remove the row of the table"
            return replace(step, text=step.text.replace(f'"{old}"', f'"{new}"'))
    return step


@needs_data
@pytest.mark.parametrize("case", parameters(cases_of("provider/config")))
async def test_a_case_about_options(case: Case) -> None:
    await STEPS.play(updated(case), Configured())


@needs_data
def test_every_option_is_in_the_file() -> None:
    texts = [step.text for case in cases_of("provider/config") for step in case.steps]
    assert [name for name in OPTIONS if not any(f'option "{name}"' in text for text in texts)] == []
