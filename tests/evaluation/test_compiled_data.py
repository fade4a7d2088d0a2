"""CompiledData, and the log of problems in definitions. Changes of a whole snapshot are in test_snapshot.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NoReturn

import pytest

from aioflags.evaluation.compiled_data import CompiledData, DefinitionLog
from aioflags.evaluation.flags import compile_flag
from aioflags.evaluation.items import Items, ReportProblem
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY, LaunchDarklyDialect, compile_segment
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment
from aioflags.model.change import ObjectKind, SegmentDefinition
from aioflags.model.flag import Clause, FlagDefinition, FlagRule
from aioflags.runtime.logs import logger


def test_a_segment_is_compiled_once() -> None:
    compiled: list[str] = []

    def compile_and_record(definition: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
        compiled.append(definition.key)
        return compile_segment(definition, note)

    items = Items(segments={key: SegmentDefinition(key=key) for key in "ab"})
    data = CompiledData(items, LaunchDarklyDialect(compile_flag, compile_and_record), DefinitionLog(logging.getLogger("aioflags")))
    first = [data.segment(key) for key in "aba"]
    assert compiled == ["a", "b"]
    assert first[0] is first[2] is data.segments["a"]
    assert data.segment("c") is None


class NotIterable(dict[str, CompiledFlag]):
    """The compiled flags of a large snapshot. They must not be iterated or copied to update a few."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("iterated over all flags")

    def keys(self) -> NoReturn:
        raise AssertionError("copied all flags")


def test_updating_to_few_flags_does_not_iterate_over_all_compiled_flags() -> None:
    definitions = {key: FlagDefinition(key=key) for key in ("a", "b", "c")}
    data = CompiledData(Items(definitions), LAUNCHDARKLY, DefinitionLog(logger))
    for key in definitions:
        data.flag(key)
    data.flags = NotIterable(data.flags)
    assert data.updated(Items({"a": definitions["a"]})).flags == {"a": data.flags["a"]}


def test_two_threads_that_compile_a_flag_keep_the_same_result() -> None:
    definition = FlagDefinition(key="g", version=1)
    other = compile_flag(definition, lambda _: None)

    def compile_more_slowly(definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        data.flags["g"] = other
        return compile_flag(definition, note)

    data = CompiledData(Items({"g": definition}), LaunchDarklyDialect(compile_more_slowly, compile_segment), DefinitionLog(logger))
    assert data.flag("g") is other
    assert data.direct_flags["g"] is other.evaluate


def flag_of(key: str, *, version: int = 1, segments: tuple[str, ...] = ()) -> FlagDefinition:
    clauses = (Clause(attribute="", op="segmentMatch", values=segments),)
    return FlagDefinition(key=key, version=version, on=True, variations=(0, 1), rules=(FlagRule(clauses=clauses, variation=1),))


def segment_of(key: str, *, version: int = 1) -> SegmentDefinition:
    return SegmentDefinition(key=key, version=version, included=("u",))


FLAGS = {"a": flag_of("a", segments=("s",)), "b": flag_of("b"), "c": flag_of("c", segments=("t",))}
SEGMENTS = {"s": segment_of("s"), "t": segment_of("t")}
NEW_B, NEW_S = flag_of("b", version=2), segment_of("s", version=2)


@pytest.mark.parametrize(
    ("flags", "changed", "kept"),
    [
        pytest.param({**FLAGS, "b": NEW_B}, None, {"a", "c"}, id="as many flags"),
        pytest.param({**FLAGS, "b": NEW_B, "d": flag_of("d")}, None, {"a", "c"}, id="more flags"),
        pytest.param({"a": FLAGS["a"], "b": NEW_B}, None, {"a"}, id="fewer flags"),
        pytest.param(
            {**FLAGS, "b": NEW_B}, [(ObjectKind.FLAG, "b"), (ObjectKind.SEGMENT, "s")], {"a", "c"}, id="the changed items are given"
        ),
    ],
)
def test_compiled_definitions_are_kept_if_they_did_not_change(
    flags: dict[str, FlagDefinition], changed: list[tuple[ObjectKind, str]] | None, kept: set[str]
) -> None:
    data = CompiledData(Items(FLAGS, SEGMENTS), LAUNCHDARKLY, DefinitionLog(logger))
    compiled = {key: data.flag(key) for key in FLAGS}
    t, _ = data.segment("t"), data.segment("s")
    later = data.updated(Items(flags, {**SEGMENTS, "s": NEW_S}), changed)
    assert later.flags == {key: compiled[key] for key in kept}
    assert later.direct_flags.keys() == kept
    assert later.segments == {"t": t}
