"""``aioflags evaluate``: single and batch evaluations, and the messages for mistakes of the user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from tests.cli.program import written
from tests.support.cli_runner import CliRunner

DOCUMENT = {
    "flags": {
        "release": {
            "on": True,
            "variations": ["old", "new"],
            "offVariation": 0,
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["ann"]}],
            "rules": [
                {
                    "id": "org",
                    "variation": 1,
                    "clauses": [{"op": "in", "attribute": "key", "contextKind": "org", "values": ["acme"]}],
                }
            ],
        },
        "broken": {"on": True, "variations": [1], "fallthrough": {"variation": 9}},
    },
    "flagValues": {"limits": {"items": [1, 2.5, None]}, "count": 3},
}
FALLTHROUGH = {"kind": "FALLTHROUGH"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(written(tmp_path / "flags.json", json.dumps(DOCUMENT)))


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(commands, ["evaluate", *arguments], input=stdin)


def answers(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("key", "context", "default", "answer"),
    [
        pytest.param(
            "release",
            {"kind": "user", "key": "bob"},
            None,
            {"value": "old", "variationIndex": 0, "reason": FALLTHROUGH},
            id="a value, its variation and the reason",
        ),
        pytest.param(
            "release",
            {"kind": "org", "key": "acme"},
            None,
            {"value": "new", "variationIndex": 1, "reason": {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "org"}},
            id="a reason with its rule",
        ),
        pytest.param(
            "release",
            {"key": "ann"},
            None,
            {"value": "new", "variationIndex": 1, "reason": {"kind": "TARGET_MATCH"}},
            id="a context without a kind is a user of the old form",
        ),
        pytest.param(
            "release",
            {"kind": "multi", "user": {"key": "ann"}, "org": {"key": "x"}},
            None,
            {"value": "new", "variationIndex": 1, "reason": {"kind": "TARGET_MATCH"}},
            id="a context of several kinds",
        ),
        pytest.param(
            "limits",
            {"key": "bob"},
            True,
            {"value": {"items": [1, 2.5, None]}, "variationIndex": 0, "reason": FALLTHROUGH},
            id="the type of the default does not matter",
        ),
        pytest.param(
            "count", {"key": "bob"}, None, {"value": 3, "variationIndex": 0, "reason": FALLTHROUGH}, id="a number stays whole"
        ),
        pytest.param(
            "absent",
            {"key": "bob"},
            [1],
            {"value": [1], "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}},
            id="the default for an unknown flag",
        ),
        pytest.param(
            "release",
            {"kind": "user", "key": ""},
            "x",
            {"value": "x", "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "USER_NOT_SPECIFIED"}},
            id="the default for an invalid context",
        ),
        pytest.param(
            "broken",
            {"key": "bob"},
            "x",
            {"value": "x", "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}},
            id="the default for a malformed flag",
        ),
    ],
)
class TestAnEvaluationIsAnswered:
    def test_from_the_arguments(self, file: str, key: str, context: object, default: object, answer: object) -> None:
        result = run(file, key, "--context", json.dumps(context), "--default", json.dumps(default))
        assert (answers(result), result.exit_code) == ([answer], 0)

    def test_from_a_line(self, file: str, key: str, context: object, default: object, answer: object) -> None:
        line = json.dumps({"key": key, "context": context, "default": default}).encode()
        result = run(file, "--batch", stdin=line)
        assert (answers(result), result.exit_code) == ([answer], 0)


@pytest.mark.parametrize(
    ("key", "default", "printed"),
    [
        pytest.param(
            "count",
            '"x"',
            "aioflags: flag count: the value is a number where a string is asked for by the default; a program gets the default\n",
            id="another type",
        ),
        pytest.param("count", "1.5", "", id="a number of another kind"),
        pytest.param("count", "null", "", id="null, which accepts any type"),
        pytest.param("release", '"x"', "", id="the same type"),
    ],
)
def test_a_default_of_another_type_is_remarked_on(file: str, key: str, default: str, printed: str) -> None:
    result = run(file, key, "--context", '{"key": "bob"}', "--default", default)
    assert (result.exit_code, result.stderr) == (0, printed)


def test_the_default_is_null_if_none_is_given(file: str) -> None:
    assert answers(run(file, "absent", "--context", '{"key": "x"}'))[0]["value"] is None


def test_a_batch_answers_in_order(file: str) -> None:
    keys = ["release", "count", "limits"] * 20
    lines = [json.dumps({"key": key, "context": {"key": "bob"}}).encode() for key in keys]
    result = run(file, "--batch", stdin=b"\r\n".join(lines) + b"\n")
    assert [answer["value"] for answer in answers(result)] == ["old", 3, {"items": [1, 2.5, None]}] * 20
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("line", "error"),
    [
        pytest.param(b"{key: 1}", "line 2: byte 2: ", id="not JSON"),
        pytest.param(b"", "the JSON ends too early", id="an empty line"),
        pytest.param(b"[1]", "expected object, got array", id="not an object"),
        pytest.param(b'{"context": {}}', 'missing required property "key"', id="no key"),
        pytest.param(b'{"key": "count"}', 'missing required property "context"', id="no context"),
        pytest.param(b'{"key": 1, "context": {}}', "key: expected string, got number", id="a key that is not a string"),
        pytest.param(
            b'{"key": "count", "context": "bob"}', "context: expected object, got string", id="a context that is not an object"
        ),
        pytest.param(b'{"key": "count", "context": {"key": "\xff"}}', "", id="text that is not UTF-8"),
        pytest.param(b'{"key": "count", "default": ' + b"[" * 100_000, "nested too deeply", id="deep nesting"),
        pytest.param(b'{"key": "count", "context": {"key": "x"}, "default": 1e999}', "out of range", id="a number out of range"),
    ],
)
def test_an_invalid_line_has_an_error_in_its_place(file: str, line: bytes, error: str) -> None:
    good = b'{"key": "count", "context": {"key": "x"}}'
    result = run(file, "--batch", stdin=b"\n".join([good, line, good, b""]))
    first, second, third = answers(result)
    assert (first["value"], third["value"], result.exit_code) == (3, 3, 2)
    assert list(second) == ["error"]
    assert second["error"].startswith("line 2: ")
    assert error in second["error"]


@pytest.mark.parametrize(
    ("line", "remark"),
    [
        pytest.param({"key": "cuont", "context": {"key": "u"}}, 'unknown flag "cuont"; did you mean "count"?', id="a flag"),
        pytest.param({"key": "count", "context": {"kind": "user"}}, "the context cannot be used: ", id="a context"),
        pytest.param({"key": "count", "context": {"key": "u", "plan": "pro"}}, '"plan" is ignored: ', id="an attribute"),
    ],
)
def test_a_remark_about_a_line_has_its_number(file: str, line: dict[str, Any], remark: str) -> None:
    good = b'{"key": "count", "context": {"key": "x"}}'
    result = run(file, "--batch", stdin=b"\n".join([good, json.dumps(line).encode()]))
    assert (len(answers(result)), result.exit_code) == (2, 0)
    assert result.stderr.startswith(f"aioflags: line 2: {remark}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param(b'{"flags":\n{"a": }}', "line 2, column 7: ", id="bad syntax names the line"),
        pytest.param(
            b'{"flags": {"a": {"rules": [{"clauses": [{"op": 1}]}]}}}',
            "flags.a.rules[0].clauses[0].op: ",
            id="an invalid value names the path",
        ),
        pytest.param(b'{"flag": {}}', "flag: ", id="an unknown property"),
        pytest.param(b'{"flagValues": {"a": "\xff"}}', "line 1, ", id="not UTF-8"),
        pytest.param(b"", "line 1, column 1: ", id="an empty file"),
    ],
)
def test_a_mistake_in_the_file_is_reported_with_its_place(tmp_path: Path, text: bytes, place: str) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(text)
    result = run(str(path), "a", "--context", '{"key": "x"}')
    assert result.stderr.startswith(f"aioflags: {path}: {place}")
    assert len(result.stderr.splitlines()) == 1
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["{folder}/absent.json", "a", "--context", "{}"], "absent.json: No such file or directory", id="a missing file"
        ),
        pytest.param(["{folder}", "a", "--context", "{}"], "Is a directory", id="a folder"),
        pytest.param(
            ["{file}", "a", "--context", "{"], "aioflags: --context: the JSON ends too early", id="a context that is not JSON"
        ),
        pytest.param(
            ["{file}", "a", "--context", "anna"],
            """aioflags: --context: not JSON: anna; for example '{"kind": "user", "key": "anna"}'\n""",
            id="a key instead of a context",
        ),
        pytest.param(
            ["{file}", "a", "--context", "{kind: user}"],
            """aioflags: --context: byte 2: object keys must be strings; for example '{"kind": "user", "key": "user-123"}'\n""",
            id="names without quotes",
        ),
        pytest.param(
            ["{file}", "a", "--context", "{}", "--default", "no"],
            """aioflags: --default: not JSON: no; for example false for a boolean flag, '"no"' for a string\n""",
            id="a default without quotes",
        ),
        pytest.param(
            ["{file}", "a", "--context", "{}", "--default", "True"],
            "aioflags: --default: not JSON: True; for example true\n",
            id="a default as Python writes it",
        ),
        pytest.param(
            ["{file}", "a", "--context", "[]"],
            "aioflags: --context: expected object, got array",
            id="a context that is not an object",
        ),
        pytest.param(
            ["{file}", "a", "--context", "{}", "--default", "{x}"], "aioflags: --default: byte 2: ", id="a default that is not JSON"
        ),
        pytest.param(["{file}", "a", "--context", '{"key": "\udcff"}'], "aioflags: --context: ", id="bytes of another encoding"),
        pytest.param(
            ["{file}", "k\udcff", "--context", "{}"], "the KEY k\\udcff is not valid UTF-8", id="a key of another encoding"
        ),
        pytest.param(["{file}", "a"], "expected a KEY and --context, or --batch", id="no context"),
        pytest.param(["{file}"], "expected a KEY and --context, or --batch", id="no key"),
        pytest.param(["{file}", "a", "--batch"], "--batch reads keys and contexts from standard input", id="a key and a batch"),
        pytest.param([], "Missing argument 'FILE'", id="no arguments"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(file: str, arguments: list[str], message: str) -> None:
    folder = str(Path(file).parent)
    result = run(*(argument.replace("{folder}", folder).replace("{file}", file) for argument in arguments))
    assert message in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("key", "context", "printed"),
    [
        pytest.param("broken", {"kind": "user", "key": "u"}, "serves variation 9, but has 1", id="why a flag is malformed"),
        pytest.param("cuont", {"kind": "user", "key": "u"}, 'unknown flag "cuont"; did you mean "count"?', id="a misspelled key"),
        pytest.param("xyz", {"kind": "user", "key": "u"}, 'unknown flag "xyz"\n', id="a key that resembles no other"),
        pytest.param("count", {"kind": "user"}, "key: expected a string, got None", id="why a context cannot be used"),
        pytest.param(
            "count",
            {"key": "u", "plan": "pro"},
            'aioflags: "plan" is ignored: a context without "kind" is a legacy user, '
            'whose custom attributes are in "custom"; add "kind": "user"\n',
            id="a lost attribute of a legacy user",
        ),
    ],
)
def test_a_problem_is_printed_on_standard_error(file: str, key: str, context: dict[str, Any], printed: str) -> None:
    command = [sys.executable, "-m", "aioflags", "evaluate", file, key, "--context", json.dumps(context)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert printed in ended.stderr
    assert ended.stderr.startswith("aioflags: ")
