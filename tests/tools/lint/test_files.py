"""Findings in files have lines and columns, and agree with evaluation."""

from __future__ import annotations

import pytest

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.protocol.flag_documents import read_document
from aioflags.tools.lint import Level, LintFinding, lint
from tests.evaluation.generator import World, world
from tests.tools.lint.documents import GOOD, findings, segment, with_clause


@pytest.mark.slow
def test_a_long_chain_of_prerequisites_is_not_a_cycle() -> None:
    chain = {f"f{n}": {**GOOD, "prerequisites": [{"key": f"f{n + 1}", "variation": 0}]} for n in range(5000)}
    assert findings({"flags": {**chain, "f5000": GOOD}}) == []
    closed = {**GOOD, "prerequisites": [{"key": "f0", "variation": 0}]}
    (finding,) = findings({"flags": {**chain, "f5000": closed}})
    assert (finding.rule, finding.path) == ("cycle", "flags.f5000.prerequisites[0].key")


def test_several_files_are_one_data_set() -> None:
    flags, segments = with_clause(op="segmentMatch", values=["s"]), segment(included=["x"])
    assert findings(flags, segments) == []
    (twice,) = findings(flags, segments, segment())
    assert (twice.file, twice.path, twice.message) == ("2.json", "segments.s", "this segment is in 1.json, too")


TEXT = """{
  "flags": {
    "a": {"on": true, "on": false},
    "b": {"onn": true,
          "variations": [1]}
  }
}"""
YAML = """
flags:
  a: {on: true, on: false}
  b:
    onn: true
    variations: [1]
"""


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        pytest.param("f.json", TEXT, ["f.json:3:23: flags.a.on", "f.json:4:11: flags.b.onn"], id="JSON"),
        pytest.param("f.yaml", YAML, ["f.yaml:3:17: flags.a.on", "f.yaml:5:5: flags.b.onn"], id="YAML"),
    ],
)
def test_a_finding_has_a_line_and_a_column(name: str, text: str, lines: list[str]) -> None:
    found = [str(finding) for finding in lint([(name, text.encode())])]
    assert found == [
        f'{lines[0]}: "on" is here twice [repeated-name]',
        f'{lines[1]}: unknown property; did you mean "on"? [unknown-property]',
    ]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        pytest.param("f.json", b'{"flags":\n }', "f.json:2:2: invalid character", id="bad JSON"),
        pytest.param("f.json", b"", "f.json:1:1: the JSON ends too early", id="an empty file"),
        pytest.param("f.json", b'{"a": "\\ud800"}', "f.json:1:16: the JSON ends too early", id="half a surrogate pair"),
        pytest.param("f.json", b'{"\xff": 1}', "f.json:1:3: text that is not UTF-8", id="another encoding"),
        pytest.param("f.json", b'{"flags":' * 100_000, "f.json: nested too deeply", id="deep nesting"),
        pytest.param("f.yaml", b"flags: [", "f.yaml:2:1: did not find expected node content", id="bad YAML"),
    ],
)
def test_an_unreadable_file_is_one_finding(name: str, text: bytes, shown: str) -> None:
    (finding,) = lint([(name, text)])
    assert (finding.rule, finding.level) == ("syntax", Level.ERROR)
    assert str(finding).startswith(shown)


# -- the result of an evaluation


FATAL = {"variation-out-of-range", "nothing-served", "invalid-reference", "cycle"}
"""Rules for mistakes that make an evaluation fail."""


def suspects(made: World, found: list[LintFinding]) -> set[str]:
    """Keys of flags whose evaluation may fail: because of themselves, a segment or a prerequisite."""
    fatal = [finding.path for finding in found if finding.rule in FATAL]
    known = {one["key"] for one in made.flags if any(path.startswith(f"flags.{one['key']}.") for path in fatal)}
    if any(path.startswith("segments.") for path in fatal):
        known |= {one["key"] for one in made.flags if "segmentMatch" in str(one)}
    while more := {one["key"] for one in made.flags if known & {needed["key"] for needed in one["prerequisites"]}} - known:
        known |= more
    return known


def test_findings_agree_with_evaluation() -> None:
    """Only flags with an error fail, and a rule that is unreachable or never matches does not match."""
    sound = matches = 0
    for number in range(60):
        made = world(f"lint:{number}")
        document = {"flags": {one["key"]: one for one in made.flags}, "segments": {one["key"]: one for one in made.segments}}
        found = findings(document)
        snapshot, suspected = Snapshot.empty().apply(read_document(document)), suspects(made, found)
        hopeless = {finding.path for finding in found if finding.rule in {"unreachable-rule", "never-matches"}}
        for key in document["flags"]:
            for context in made.contexts:
                reason = snapshot.evaluate(key, Context.from_dict(context), None).detail.reason
                if key not in suspected:
                    sound += 1
                    assert reason.error_kind is None, (number, key)
                if reason.rule_index is not None:
                    matches += 1
                    rule = f"flags.{key}.rules[{reason.rule_index}]"
                    assert not any(path == rule or path.startswith(f"{rule}.clauses[") for path in hopeless), (number, rule)
    assert (sound > 300, matches > 300) == (True, True), (sound, matches)
