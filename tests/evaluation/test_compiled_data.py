"""CompiledData, and what is said of the definitions they are made from. What a change keeps of them is in test_snapshot.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NoReturn

import pytest

from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment, Note
from aioflags.evaluation.compiled_data import CompiledData, DefinitionLog
from aioflags.evaluation.dialect import LAUNCHDARKLY, Dialect
from aioflags.evaluation.flags import compile_flag
from aioflags.evaluation.items import Items
from aioflags.evaluation.segments import compile_segment
from aioflags.model.change import ObjectKind
from aioflags.model.flag import Clause, FlagDefinition, FlagRule
from aioflags.model.segment import SegmentDefinition
from aioflags.runtime.logs import logger


def test_a_bug_is_told_once_for_each_flag_and_type_and_traced_each_time(caplog: pytest.LogCaptureFixture) -> None:
    log = DefinitionLog(logging.getLogger("aioflags"))
    bugs = [("a\nb", KeyError("x")), ("a\nb", KeyError("y")), ("c", KeyError("x")), ("c", ValueError("x"))]
    with caplog.at_level(logging.DEBUG, "aioflags"):
        for key, bug in bugs:
            log.report_bug(key, bug)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "evaluating flag a\\nb failed: KeyError('x')",
        "evaluating flag c failed: KeyError('x')",
        "evaluating flag c failed: ValueError('x')",
    ]
    traced = [record for record in caplog.records if record.levelname == "DEBUG"]
    assert [record.getMessage() for record in traced] == [
        "evaluating flag a\\nb failed",
        "evaluating flag a\\nb failed",
        "evaluating flag c failed",
        "evaluating flag c failed",
    ]
    assert [record.exc_info and record.exc_info[1] for record in traced] == [bug for _, bug in bugs]


def test_a_segment_is_compiled_once() -> None:
    compiled: list[str] = []

    def compile_and_tell(definition: SegmentDefinition, note: Note) -> CompiledSegment:
        compiled.append(definition.key)
        return compile_segment(definition, note)

    items = Items(segments={key: SegmentDefinition(key=key) for key in "ab"})
    forms = CompiledData(items, Dialect("test", compile_flag, compile_and_tell), DefinitionLog(logging.getLogger("aioflags")))
    first = [forms.segment(key) for key in "aba"]
    assert compiled == ["a", "b"]
    assert first[0] is first[2] is forms.segments["a"]
    assert forms.segment("c") is None


class Unswept(dict[str, CompiledFlag]):
    """What is compiled of very many flags: nobody goes through it, or copies it, for the sake of a few."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("somebody goes through all flags")

    def keys(self) -> NoReturn:
        raise AssertionError("somebody copies all flags")


def test_a_set_of_few_flags_costs_nothing_by_the_many_that_are_compiled() -> None:
    definitions = {key: FlagDefinition(key=key) for key in ("a", "b", "c")}
    forms = CompiledData(Items(definitions), LAUNCHDARKLY, DefinitionLog(logger))
    for key in definitions:
        forms.flag(key)
    forms.flags = Unswept(forms.flags)
    assert forms.updated(Items({"a": definitions["a"]})).flags == {"a": forms.flags["a"]}


def test_of_two_threads_that_compile_a_flag_one_has_it_compiled() -> None:
    definition = FlagDefinition(key="g", version=1)
    other = compile_flag(definition, lambda _: None)

    def compile_more_slowly(definition: FlagDefinition, note: Note) -> CompiledFlag:
        forms.flags["g"] = other
        return compile_flag(definition, note)

    forms = CompiledData(Items({"g": definition}), Dialect("test", compile_more_slowly, compile_segment), DefinitionLog(logger))
    assert forms.flag("g") is other
    assert forms.direct_flags["g"] is other.evaluate


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
            {**FLAGS, "b": NEW_B}, [(ObjectKind.FLAG, "b"), (ObjectKind.SEGMENT, "s")], {"a", "c"}, id="it is said what has changed"
        ),
    ],
)
def test_forms_are_kept_of_what_is_the_same(
    flags: dict[str, FlagDefinition], changed: list[tuple[ObjectKind, str]] | None, kept: set[str]
) -> None:
    forms = CompiledData(Items(FLAGS, SEGMENTS), LAUNCHDARKLY, DefinitionLog(logger))
    compiled = {key: forms.flag(key) for key in FLAGS}
    t, _ = forms.segment("t"), forms.segment("s")
    later = forms.updated(Items(flags, {**SEGMENTS, "s": NEW_S}), changed)
    assert later.flags == {key: compiled[key] for key in kept}
    assert later.direct_flags.keys() == kept
    assert later.segments == {"t": t}
