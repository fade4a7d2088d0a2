"""Results of sources, and their change sets: ``data-system.md`` 4."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aioflags.model.change import Basis, ChangeKind, ChangeSet, FallbackDirective, FetchFailure, Selector, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState

ERROR = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="refused", time=1.0)


RESULTS = pytest.mark.parametrize(
    ("result", "fields"),
    [
        pytest.param(Basis, {"change_set": ChangeSet.unchanged()}, id="a basis"),
        pytest.param(FetchFailure, {"error": ERROR}, id="a failure"),
        pytest.param(Update, {"state": SourceState.VALID}, id="an update"),
    ],
)


@RESULTS
def test_a_result_requires_the_argument_directive(result: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="directive"):
        result(**fields)
    assert result(**fields, directive=None).directive is None


@pytest.mark.parametrize(
    "directive", [None, FallbackDirective(ttl=None, origin="header"), FallbackDirective(ttl=0, origin="goodbye")]
)
@RESULTS
def test_a_result_with_a_directive_falls_back_to_fdv1(
    result: Any, fields: dict[str, Any], directive: FallbackDirective | None
) -> None:
    assert result(**fields, directive=directive).fallback_to_fdv1 is (directive is not None)


def test_an_error_without_a_response_has_status_0() -> None:
    assert ERROR.status_code == 0


@pytest.mark.parametrize("value", [ERROR, Selector.none(), ChangeSet.unchanged(), Update(state=SourceState.OFF, directive=None)])
def test_results_cannot_be_changed(value: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


@pytest.mark.parametrize(
    ("selector", "defined"),
    [
        pytest.param(Selector.none(), False, id="none"),
        pytest.param(Selector("", 5), False, id="a version alone names nothing"),
        pytest.param(Selector("(p:a:1)", 0), True, id="a state"),
    ],
)
def test_a_selector_is_defined_by_its_state(selector: Selector, defined: bool) -> None:
    assert selector.is_defined is defined


def test_nothing_changed_is_a_change_set_without_changes() -> None:
    unchanged = ChangeSet.unchanged()
    assert (unchanged.kind, unchanged.changes, unchanged.selector) == (ChangeKind.NONE, (), Selector.none())
