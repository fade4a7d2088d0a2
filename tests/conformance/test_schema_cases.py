"""The example documents of flagd's JSON schema: the loading path takes the valid ones, and refuses no more than it has to.

Source: ``flagd.md`` 4.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.runtime.cooperative import run_at_once
from tests.conformance.features import DIRECTORY, needs_data

CASES = DIRECTORY / "schema" / "cases"


def named(*folders: str) -> list[Any]:
    """A parameter for each file of these folders."""
    paths = [path for folder in folders for path in sorted((CASES / folder).glob("*.json"))]
    return [pytest.param(path, id=path.relative_to(CASES).as_posix()) for path in paths]


def snapshot_of(document: bytes | Mapping[str, Any]) -> Snapshot:
    return Snapshot.empty(dialect=flagd_dialect()).apply(run_at_once(read_flag_set(document)))


def evaluated(snapshot: Snapshot, key: str, default: Any = None) -> EvaluationDetail[Any]:
    return snapshot.evaluate(key, Context("u1"), default, wanted=object).detail


@needs_data
@pytest.mark.parametrize("path", named("flags/positive", "flagd/positive"))
def test_every_flag_of_a_valid_document_evaluates(path: Path) -> None:
    snapshot = snapshot_of(path.read_bytes())
    assert len(snapshot.flags) == len(json.loads(path.read_bytes())["flags"])
    assert [key for key in snapshot.flags if evaluated(snapshot, key).reason.error_kind is not None] == []


VARIANTS = ["clubs", "diamonds", "hearts", "spades", "prefix", "postfix", "equal", "not", "yes", "no", "dflt"]


def targeted(path: Path) -> EvaluationDetail[Any]:
    """The value of a flag with the targeting rule of a file."""
    flag = {
        "state": "ENABLED",
        "variants": {name: name for name in VARIANTS},
        "defaultVariant": "dflt",
        "targeting": json.loads(path.read_bytes()),
    }
    shared = {"some-ref": {"==": [1, 1]}}
    return evaluated(snapshot_of({"flags": {"f": flag}, "$evaluators": shared}), "f")


@needs_data
@pytest.mark.parametrize("path", named("targeting/positive"))
def test_a_valid_rule_is_understood(path: Path) -> None:
    assert targeted(path).reason.error_kind in {None, ErrorKind.GENERAL}  # GENERAL: the result is not the name of a variant


REFUSED = "with-invalid-flag-set-metadata.json"
"""The only document that is refused as a whole."""

DEFECTS = {
    "empty-variants.json": {"myBoolFlag": ErrorKind.PARSE_ERROR},
    "malformed-flag.json": {"myBoolFlag": None, "not-a-flag": ErrorKind.PARSE_ERROR},
    "missing-variants.json": {"myBoolFlag": ErrorKind.PARSE_ERROR},
    "mixed-variant-types.ffconfig.json": {"myBoolFlag": None},
    "state-set-incorrectly.json": {"myBoolFlag": ErrorKind.PARSE_ERROR},
    "with-array-flags.json": {"myBoolFlag": None},
    "with-invalid-flag-metadata.json": {"myBoolFlag": ErrorKind.PARSE_ERROR},
    "with-invalid-targeting.json": {"targetedFlag": ErrorKind.PARSE_ERROR},
}
"""The error of each flag of the other invalid documents; ``None``: only a schema finds fault with it."""


@needs_data
@pytest.mark.parametrize(("file", "errors"), DEFECTS.items())
def test_a_defect_concerns_one_flag(file: str, errors: Mapping[str, ErrorKind | None]) -> None:
    snapshot = snapshot_of((CASES / "flags" / "negative" / file).read_bytes())
    assert {key: evaluated(snapshot, key).reason.error_kind for key in snapshot.flags} == errors


@needs_data
def test_a_document_with_invalid_metadata_is_refused() -> None:
    with pytest.raises(FlagSetError, match="metadata"):
        snapshot_of((CASES / "flags" / "negative" / REFUSED).read_bytes())


DEFAULT = {"dflt"}

INVALID_RULES = {
    "fractional-decimal-weighting.json": DEFAULT,
    "fractional-invalid-bucketing.json": {"clubs", "diamonds", "hearts", "spades"},  # the text is the seed
    "fractional-invalid-weighting.json": DEFAULT,
    "fractional-negative-weighting.json": {"clubs", "hearts", "spades"},  # a weight below 0 is 0
    "invalid-ends-with-param.json": {"prefix"},
    "invalid-flagd-props.json": {"yes"},  # both are null
    "invalid-starts-with-param.json": {"postfix"},
    "sem-ver-invalid-range-specifier.json": {"not"},
    "sem-ver-invalid-ver-expression.json": {"not"},
}
"""The possible variants for each rule that the schema refuses: as a rule, an operator that cannot be used gives null."""


@needs_data
@pytest.mark.parametrize(("file", "variants"), INVALID_RULES.items())
def test_an_operator_that_cannot_be_used_gives_null(file: str, variants: set[str]) -> None:
    detail = targeted(CASES / "targeting" / "negative" / file)
    assert detail.variant in variants
    assert detail.reason.kind is (ReasonKind.DEFAULT if variants is DEFAULT else ReasonKind.TARGETING_MATCH)


@needs_data
@pytest.mark.parametrize(
    ("folder", "files"),
    [("flags/negative", {*DEFECTS, REFUSED}), ("targeting/negative", set(INVALID_RULES)), ("flagd/negative", set[str]())],
)
def test_all_invalid_examples_are_listed(folder: str, files: set[str]) -> None:
    assert {path.name for path in (CASES / folder).glob("*.json")} == files
