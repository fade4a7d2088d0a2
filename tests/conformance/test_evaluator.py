"""The evaluator's features, and the features of providers that need no connection, against flag sets in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.cooperative import run_at_once
from tests.conformance.config_options import OPTION_STEPS, Options
from tests.conformance.evaluations import EVALUATION_STEPS, Details, Evaluations, Flag
from tests.conformance.features import Case, cases_of, needs_data, parameters, versions
from tests.conformance.flag_sets import CONFIGS, INJECTED, evaluator_flags, flag_set
from tests.conformance.steps import Steps
from tests.conformance.values import EXPECTED


@dataclass(kw_only=True)
class Evaluator(Evaluations, Options):
    """A case that evaluates flags in memory."""

    fractional_version: int
    snapshot: Snapshot = field(default_factory=Snapshot.empty)

    def serve(self, document: Mapping[str, Any], static_context: Mapping[str, Any] | None = None) -> None:
        empty = Snapshot.empty(dialect=flagd_dialect(self.fractional_version))
        self.snapshot = empty.apply(run_at_once(read_flag_set(document, static_context=static_context)))

    async def evaluate(self, flag: Flag) -> Details:
        context = Context(self.targeting_key, attributes=self.attributes)
        detail = self.snapshot.evaluate(flag.key, context, flag.default, wanted=EXPECTED[flag.kind]).detail
        return Details(
            flag_key=flag.key,
            value=detail.value,
            variant=detail.variant,
            reason=detail.reason.kind,
            error_code=detail.reason.error_kind,
            metadata=detail.metadata,
        )


def an_evaluator(world: Evaluator) -> None:
    world.serve(evaluator_flags())


def a_provider(world: Evaluator, kind: str) -> None:
    world.serve(flag_set(CONFIGS[kind], world.options.get("selector")), INJECTED)


STEPS = Steps[Evaluator](EVALUATION_STEPS, OPTION_STEPS, {"an evaluator": an_evaluator, "a {kind} flagd provider": a_provider})

FILES = ("disabled", "evaluation", "metadata", "selector", "sync-payload", "targeting")
WITHOUT_CONNECTION = tuple(f"provider/{file}" for file in FILES)
"""Files whose cases need no connection, except those about outages."""


ALL = [
    pytest.param(case, version, id=f"{parameter.id}: fractional {version}", marks=parameter.marks)
    for parameter in parameters(cases_of("evaluator/", *WITHOUT_CONNECTION))
    for case in parameter.values
    if "grace" not in case.tags
    for version in versions(case)
]


@needs_data
@pytest.mark.parametrize(("case", "version"), ALL)
async def test_a_case_without_a_connection(case: Case, version: int) -> None:
    await STEPS.play(case, Evaluator(fractional_version=version))
