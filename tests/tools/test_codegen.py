"""The module that declares flags: names that survive any key, nothing in it but literals, and two checkers that take it."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import Client, Context, Flag
from aioflags.model.values import same_json
from aioflags.protocol.documents.document import read_document
from aioflags.testing import assert_flags_exist
from aioflags.tools.codegen import constant_names, declarations, declare_the_same, declared_type

WILD = [
    '"; import os #',
    "'; import os #",
    '"""\nimport os\n"""',
    "\\",
    "x\\",
    "line\nbreak",
    "class",
    "None",
    "any",
    "flag",
    "Flag",
    "default",
    "a-b",
    "a.b",
    "a_b",
    "A b",
    "a_b_d2d2d2",
    "2fa",
    "__init__",
    "-",
    "—",
    "ß",
    "größe",
    "キー",
    "newCheckout",
    "new-checkout",
    "\u202eright to left",
    "{key!r}",
    "%s",
]


def module_of(source: str) -> ModuleType:
    module = ModuleType("generated")
    exec(compile(source, "generated", "exec"), vars(module))
    return module


def declared(source: str) -> dict[str, Flag[Any]]:
    """The flags that a module declares, by name."""
    return {name: found for name, found in vars(module_of(source)).items() if isinstance(found, Flag)}


def is_nothing_but_declarations(source: str) -> bool:
    """Whether a module has nothing but a docstring, an import, and names for calls of ``Flag`` with literals."""
    first, *others = ast.parse(source).body
    assert isinstance(first, ast.Expr)
    for one in others:
        match one:
            case ast.ImportFrom(module="aioflags", names=[ast.alias(name="Flag")]):
                pass
            case ast.Assign(
                targets=[ast.Name()],
                value=ast.Call(
                    func=ast.Subscript(value=ast.Name(id="Flag")),
                    args=[ast.Constant()],
                    keywords=[ast.keyword(arg="default", value=value)],
                ),
            ):
                ast.literal_eval(value)
            case _:
                return False
    return True


@pytest.mark.parametrize(
    ("key", "name"),
    [
        pytest.param("new-checkout", "NEW_CHECKOUT", id="words"),
        pytest.param("newCheckout", "NEW_CHECKOUT", id="humps"),
        pytest.param("checkout.v2/eu", "CHECKOUT_V2_EU", id="other separators"),
        pytest.param("class", "CLASS", id="a keyword"),
        pytest.param("None", "NONE", id="a constant"),
        pytest.param("2fa", "FLAG_2FA", id="a digit in front"),
        pytest.param("-", "FLAG", id="nothing that a name could have"),
        pytest.param('"; import os #', "IMPORT_OS", id="code"),
        pytest.param("größe", "GR_E", id="letters beyond ASCII"),
        pytest.param("_private", "PRIVATE", id="underscores around"),
    ],
)
def test_a_key_gets_the_name(key: str, name: str) -> None:
    assert constant_names([key]) == {key: name}


def test_keys_that_would_share_a_name_are_told_apart_by_a_hash() -> None:
    names = constant_names(["a-b", "a.b", "c"])
    assert names["c"] == "C"
    assert all(name.startswith("A_B_") and len(name) == 10 for key, name in names.items() if key != "c")
    assert names["a-b"] != names["a.b"]
    # Whoever joins them changes the name of none, so that no name ever comes to mean another flag.
    assert constant_names(["a-b", "a.b", "a b", "c"]).items() > names.items()


def test_a_key_that_is_written_like_a_name_with_its_hash_takes_no_other_flags_name() -> None:
    taken = constant_names(["a-b", "a.b"])["a-b"]
    names = constant_names(["a-b", "a.b", taken])
    assert len(set(names.values())) == 3


@given(st.lists(st.one_of(st.text(), st.sampled_from(WILD)), unique=True))
def test_whatever_the_keys_are_each_has_a_name_of_its_own(keys: list[str]) -> None:
    names = constant_names(keys)
    assert set(names) == set(keys)
    assert len(set(names.values())) == len(keys)
    assert all(name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and name.isupper() for name in names.values())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab\"'\\\n{}#ß"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\"'\\"), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(WILD)), JSON))
def test_whatever_the_flags_are_they_are_declared_and_nothing_else_happens(values: dict[str, Any]) -> None:
    source = declarations(read_document({"flagValues": values}))
    assert is_nothing_but_declarations(source)
    found = declared(source)
    assert {flag.key for flag in found.values()} == set(values)
    assert all(same_json(flag.default, values[flag.key]) for flag in found.values() if values[flag.key] is not True)
    assert not any(values[flag.key] is True and flag.default for flag in found.values())
    assert len(source.splitlines()) <= len(values) + 4


@pytest.mark.parametrize(
    ("variations", "written"),
    [
        pytest.param([True, False], "bool", id="booleans"),
        pytest.param(["a"], "str", id="strings"),
        pytest.param([1, 2], "int", id="whole numbers"),
        pytest.param([1, 2.5], "float", id="numbers"),
        pytest.param([{"a": 1}, {}], "dict[str, object]", id="objects"),
        pytest.param([[1], []], "list[object]", id="arrays"),
        pytest.param([True, 1], "object", id="a boolean is no number"),
        pytest.param(["a", None], "object", id="nothing in common"),
        pytest.param([None], "object", id="null"),
        pytest.param([], "object", id="nothing"),
    ],
)
def test_the_type_is_that_of_all_variations(variations: list[Any], written: str) -> None:
    assert declared_type(variations) == written


@pytest.mark.parametrize(
    ("flag", "default"),
    [
        pytest.param({"variations": ["a", "b"], "offVariation": 1}, "b", id="what is served while it is off"),
        pytest.param({"variations": ["a", "b"]}, "a", id="else the first variation"),
        pytest.param({"variations": ["a"], "offVariation": 7}, "a", id="also where the off variation is not there"),
        pytest.param({"variations": []}, None, id="None without any"),
        pytest.param({"variations": [False, True], "offVariation": 1}, True, id="True of a flag that is true while it is off"),
        pytest.param({"variations": [True, False]}, False, id="False of a boolean that nobody can turn off"),
        pytest.param({"variations": [True, False], "offVariation": 7}, False, id="False where the off variation is not there"),
        pytest.param({"variations": [1, 2.5]}, 1.0, id="a float among numbers, so that no fraction is cut off"),
        pytest.param({"variations": [10**400, 2.5]}, 2.5, id="the first that a float can hold"),
        pytest.param({"variations": ["a", 1], "offVariation": 0}, None, id="None of several types, which asks for any"),
    ],
)
def test_the_default_is(flag: dict[str, Any], default: object) -> None:
    (found,) = declared(declarations(read_document({"flags": {"f": flag}}))).values()
    assert (type(found.default), found.default) == (type(default), default)


def test_a_flag_value_that_is_true_is_declared_false() -> None:
    (found,) = declared(declarations(read_document({"flagValues": {"f": True}}))).values()
    assert found.default is False


async def test_a_flag_of_several_types_serves_each_of_them() -> None:
    variations = ["a", 1, 2.5, None, {"b": []}]
    (flag,) = declared(declarations(read_document({"flags": {"f": {"variations": variations}}}))).values()
    for index, value in enumerate(variations):
        document = {"flags": {"f": {"on": True, "variations": variations, "fallthrough": {"variation": index}}}}
        assert await Client.local(document).variation(flag, Context("user-123")) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("dark", r'"dark"', id="double quotes"),
        pytest.param("it's", r'''"it's"''', id="around single ones"),
        pytest.param('say "hi"', r"""'say "hi"'""", id="single ones around double ones"),
        pytest.param("""it's "so" """, r"""'it\'s "so" '""", id="those that take fewer backslashes"),
        pytest.param("""'"'""", r'''"'\"'"''', id="or the double ones again"),
        pytest.param("\\'\\\"", r'''"\\'\\\""''', id="backslashes before quotes"),
        pytest.param("\u202e\n", r'"\u202e\n"', id="what cannot be seen"),
        pytest.param({"a": ["b", {}]}, r'{"a": ["b", {}]}', id="in arrays and objects, too"),
    ],
)
def test_a_text_is_written_as_formatters_have_it(value: object, written: str) -> None:
    source = declarations(read_document({"flagValues": {"f": value}}))
    assert source.splitlines()[-1].partition("default=")[2] == f"{written})"


def test_a_module_reads() -> None:
    document = {"flagValues": {"new-checkout": False, "limits": {"items": 10}}, "segments": {"s": {}}}
    assert declarations(read_document(document)) == (
        '"""Flags, declared by ``aioflags codegen``. Made anew whenever flags come or go; not to be edited."""\n'
        "\n"
        "from aioflags import Flag\n"
        "\n"
        'LIMITS = Flag[dict[str, object]]("limits", default={"items": 10})\n'
        'NEW_CHECKOUT = Flag[bool]("new-checkout", default=False)\n'
    )


@pytest.mark.real_time
def test_a_formatter_finds_nothing_to_do(tmp_path: Path) -> None:
    values: dict[str, Any] = dict.fromkeys(WILD, 'it\'s "so"') | {"list": ["a", 1, 1e30, None], "object": {"k'": {'"': -1.5}}}
    module = tmp_path / "made.py"
    module.write_text(declarations(read_document({"flagValues": values})), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "132", "--diff", str(module)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize(
    ("module", "is_same"),
    [
        pytest.param(b"from aioflags import Flag\n\nA = Flag[str]('a', default='b')\n", True, id="other quotes"),
        pytest.param(b'from aioflags import Flag\nA = Flag[str](\n  "a",\n  default="b",  # so it is\n)', True, id="other lines"),
        pytest.param(b'from aioflags import Flag\n\nA = Flag[str]("a", default="c")\n', False, id="another default"),
        pytest.param(b'from aioflags import Flag\n\nB = Flag[str]("a", default="b")\n', False, id="another name"),
        pytest.param(b'from aioflags import Flag\n\nA = Flag[str]("a", default=', False, id="no module"),
        pytest.param(b"\0", False, id="no text"),
    ],
)
def test_two_modules_declare_the_same_however_they_are_laid_out(module: bytes, is_same: bool) -> None:
    made = b'from aioflags import Flag\n\nA = Flag[str]("a", default="b")\n'
    assert declare_the_same(module, made) is is_same


def test_what_is_no_module_is_the_same_as_itself_alone() -> None:
    assert declare_the_same(b"(", b"(")
    assert not declare_the_same(b"(", b"((")


def test_a_document_without_flags_makes_an_empty_module() -> None:
    assert declared(declarations(read_document({}))) == {}


@pytest.mark.real_time
@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(["mypy", "--strict", "--cache-dir", "{folder}/cache"], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_both_type_checkers_take_it(checker: list[str], tmp_path: Path) -> None:
    values: dict[str, Any] = dict.fromkeys(WILD, True)
    values |= {"text": "a'b\"c", "number": 1, "ratio": 1.5, "list": [1, {"a": None}], "object": {"k": [True]}, "null": None}
    (tmp_path / "generated.py").write_text(declarations(read_document({"flagValues": values})), encoding="utf-8")
    name = constant_names(values)
    (tmp_path / "use.py").write_text(
        "from typing import assert_type\n"
        "import generated\n"
        "from aioflags import Client\n"
        "async def use(client: Client) -> None:\n"
        f"    assert_type(await client.variation(generated.{name['class']}), bool)\n"
        f"    assert_type(await client.variation(generated.{name['text']}), str)\n"
        f"    assert_type(client.variation_nowait(generated.{name['number']}), int)\n"
        f"    assert_type(client.flags_nowait().variation(generated.{name['ratio']}), float)\n"
        f"    assert_type(await client.variation(generated.{name['list']}), list[object])\n"
        f"    assert_type(await client.variation(generated.{name['object']}), dict[str, object])\n"
        f"    assert_type(await client.variation(generated.{name['null']}), object)\n",
        encoding="utf-8",
    )
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [sys.executable, "-m", *(word.replace("{folder}", str(tmp_path)) for word in checker), "generated.py", "use.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


# -- declared flags exist

DOCUMENT = {"flagValues": {"checkout": True, "theme": "dark", "limits": {"items": 1}}}


def test_flags_that_are_there_are_let_pass() -> None:
    assert_flags_exist([Flag[bool]("checkout", default=False), Flag("theme", default="light")], document=DOCUMENT)


def test_a_module_that_was_made_from_a_file_passes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    flags = {
        "flagValues": {"checkout": True, "limits": {"items": [1]}, "list": [1], "nothing": None},
        "flags": {"mixed": {"variations": ["a", 1, {}]}, "ratio": {"variations": [1, 0.5]}, "none": {"variations": []}},
    }
    file.write_bytes(msgspec.json.encode(flags))
    module = tmp_path / "made.py"
    module.write_text(declarations(read_document(file.read_bytes())))
    spec = importlib.util.spec_from_file_location("made", module)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert_flags_exist(made, file)


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        pytest.param(
            [Flag("chekout", default=False)],
            ["the flag 'chekout' is not in the document; did you mean 'checkout'?"],
            id="a key that is not there, with the nearest",
        ),
        pytest.param(
            [Flag("theme", default=False), Flag("x", default=1), Flag("limits", default={})],
            [
                "the flag 'theme' is declared with the default False, a boolean, and can serve 'dark', a string",
                "the flag 'x' is not in the document",
            ],
            id="all of them, and a value of another type",
        ),
        pytest.param([], ["no flag is declared there"], id="nothing to check"),
    ],
)
def test_what_is_not_as_declared_fails(flags: list[Flag[Any]], messages: list[str]) -> None:
    with pytest.raises(AssertionError) as failure:
        assert_flags_exist(flags, document=DOCUMENT)
    assert str(failure.value).splitlines() == messages
