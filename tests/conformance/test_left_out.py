"""The cases that no test runs, each with its reason. A case that joins or leaves them fails a test."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.conformance.features import cases, cases_of, needs_data, parameters
from tests.conformance.test_evaluator import ALL as EVALUATOR
from tests.conformance.test_modes import GRPC_ONLY, MODES, NO_STREAM, in_mode, run_in
from tests.conformance.test_openfeature import LEFT_OUT as OPENFEATURE

VERSION_1 = "version 1 of fractional was superseded twice"
DEPRECATED = "upstream marks the case as deprecated: another case replaces it"

LEFT_OUT = {
    ("evaluator/fractional", "Fractional operator"): (5, VERSION_1),
    ("evaluator/fractional", "Fractional operator shorthand"): (2, VERSION_1),
    ("evaluator/fractional", "Fractional operator with shared seed"): (4, VERSION_1),
    ("evaluator/fractional", "Second fractional operator with shared seed"): (4, VERSION_1),
    ("provider/evaluation", "Resolves flag with no defaultValue correctly"): (7, DEPRECATED),
    ("provider/targeting", "Fractional operator"): (5, VERSION_1),
    ("provider/targeting", "Fractional operator shorthand"): (2, VERSION_1),
    ("provider/targeting", "Fractional operator with shared seed"): (4, VERSION_1),
    ("provider/targeting", "Second fractional operator with shared seed"): (4, VERSION_1),
    ("openfeature/evaluation", "Resolves boolean value"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves string value"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves integer value"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves float value"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves object value"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves boolean details"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves string details"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves integer details"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves float details"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves object details"): (1, DEPRECATED),
    ("openfeature/evaluation", "Resolves based on context"): (1, DEPRECATED),
    ("openfeature/evaluation", "Flag not found"): (1, DEPRECATED),
    ("openfeature/evaluation", "Type error"): (1, DEPRECATED),
}
"""How many cases of a scenario no test runs, and why. 50 of 656 cases, of which 556 are flagd's; of one more, the last step: see
``STEPS_OF_THE_SDK``."""

PARAMETERS: list[Any] = [
    *parameters(cases_of("provider/config")),
    *EVALUATOR,
    *(parameter for mode in MODES for parameter in in_mode(mode)),
    *(parameter for left_out in OPENFEATURE.values() for parameter in parameters(cases_of("openfeature/"), left_out)),
]
"""The parameters of all tests of cases. One with a mark is skipped, and the mark has the reason."""


@needs_data
def test_the_cases_that_no_test_runs_are_listed() -> None:
    run = {parameter.values[0].id for parameter in PARAMETERS if not parameter.marks}
    reasons = {parameter.values[0].id: parameter.marks[0].kwargs["reason"] for parameter in PARAMETERS if parameter.marks}
    left_out = [case for case in cases() if case.id not in run]
    counts = Counter((case.file, case.name, reasons.get(case.id, "no test has the case")) for case in left_out)
    assert {(file, name): (count, reason) for (file, name, reason), count in counts.items()} == LEFT_OUT
    assert (len(left_out), len(cases())) == (50, 656)


SUPERSEDED = {VERSION_1: 15, DEPRECATED: 7}
IN_MODES = {
    "file": (267, SUPERSEDED),
    "in-process": (288, SUPERSEDED),
    "rpc": (282, SUPERSEDED),
    "ofrep": (262, {**SUPERSEDED, NO_STREAM: 9, GRPC_ONLY: 3, "OFREP has no cache": 8}),
}
"""How many cases each mode of FlagdClient plays, and how many it does not play although their tags name it, by reason."""


@needs_data
def test_what_a_mode_does_not_run_is_counted() -> None:
    played = {mode: sum(len([*run_in(mode, quiet=quiet)]) for quiet in (True, False)) for mode in MODES}
    reasons = {mode: [parameter.marks[0].kwargs["reason"] for parameter in in_mode(mode) if parameter.marks] for mode in MODES}
    assert {mode: (played[mode], Counter(reasons[mode])) for mode in MODES} == IN_MODES
