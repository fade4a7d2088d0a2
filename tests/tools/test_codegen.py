"""The generated module: valid names for any key, literals only, and no errors from two type checkers."""

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
from aioflags.cli.codegen import constant_names, declarations, declare_the_same, declared_type
from aioflags.errors import ConfigError
from aioflags.model.values import same_json
from aioflags.protocol.flag_documents import read_document, read_flag_document, read_flag_documents
from aioflags.testing import assert_flags_exist

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
    """Whether a module has only a docstring, an import, and assignments of ``Flag`` calls with literals."""
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
        pytest.param("newCheckout", "NEW_CHECKOUT", id="camel case"),
        pytest.param("checkout.v2/eu", "CHECKOUT_V2_EU", id="other separators"),
        pytest.param("class", "CLASS", id="a keyword"),
        pytest.param("None", "NONE", id="a constant"),
        pytest.param("2fa", "FLAG_2FA", id="a leading digit"),
        pytest.param("-", "FLAG", id="no valid character"),
        pytest.param('"; import os #', "IMPORT_OS", id="code"),
        pytest.param("größe", "GR_E", id="letters beyond ASCII"),
        pytest.param("_private", "PRIVATE", id="underscores around"),
    ],
)
def test_a_key_becomes_a_constant_name(key: str, name: str) -> None:
    assert constant_names([key]) == {key: name}


def test_keys_with_the_same_name_get_a_hash() -> None:
    names = constant_names(["a-b", "a.b", "c"])
    assert names["c"] == "C"
    assert all(name.startswith("A_B_") and len(name) == 10 for key, name in names.items() if key != "c")
    assert names["a-b"] != names["a.b"]
    # Whoever joins them changes the name of none, so that no name ever comes to mean another flag.
    assert constant_names(["a-b", "a.b", "a b", "c"]).items() > names.items()


def test_a_key_that_looks_like_a_name_with_a_hash_stays_distinct() -> None:
    taken = constant_names(["a-b", "a.b"])["a-b"]
    names = constant_names(["a-b", "a.b", taken])
    assert len(set(names.values())) == 3


@given(st.lists(st.one_of(st.text(), st.sampled_from(WILD)), unique=True))
def test_every_key_gets_a_different_valid_name(keys: list[str]) -> None:
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
def test_any_flags_are_declared_with_literals_only(values: dict[str, Any]) -> None:
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
        pytest.param([True, 1], "object", id="a boolean is not a number"),
        pytest.param(["a", None], "object", id="several types"),
        pytest.param([None], "object", id="null"),
        pytest.param([], "object", id="no variations"),
    ],
)
def test_the_declared_type_is_the_type_of_all_variations(variations: list[Any], written: str) -> None:
    assert declared_type(variations) == written


@pytest.mark.parametrize(
    ("flag", "default"),
    [
        pytest.param({"variations": ["a", "b"], "offVariation": 1}, "b", id="the off variation"),
        pytest.param({"variations": ["a", "b"]}, "a", id="the first variation if there is no off variation"),
        pytest.param({"variations": ["a"], "offVariation": 7}, "a", id="the first variation if the off variation does not exist"),
        pytest.param({"variations": []}, None, id="None without variations"),
        pytest.param({"variations": [False, True], "offVariation": 1}, True, id="True for a boolean whose off variation is true"),
        pytest.param({"variations": [True, False]}, False, id="False for a boolean without an off variation"),
        pytest.param(
            {"variations": [True, False], "offVariation": 7}, False, id="False for a boolean whose off variation does not exist"
        ),
        pytest.param({"variations": [1, 2.5]}, 1.0, id="a float if one variation is a float"),
        pytest.param({"variations": [10**400, 2.5]}, 2.5, id="the first number that a float can hold"),
        pytest.param({"variations": ["a", 1], "offVariation": 0}, None, id="None for several types"),
    ],
)
def test_the_default_of_a_flag(flag: dict[str, Any], default: object) -> None:
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
        pytest.param("it's", r'''"it's"''', id="double quotes around single quotes"),
        pytest.param('say "hi"', r"""'say "hi"'""", id="single quotes around double quotes"),
        pytest.param("""it's "so" """, r"""'it\'s "so" '""", id="the quotes that need fewer backslashes"),
        pytest.param("""'"'""", r'''"'\"'"''', id="double quotes if both need the same"),
        pytest.param("\\'\\\"", r'''"\\'\\\""''', id="backslashes before quotes"),
        pytest.param("\u202e\n", r'"\u202e\n"', id="invisible characters"),
        pytest.param({"a": ["b", {}]}, r'{"a": ["b", {}]}', id="strings in arrays and objects"),
    ],
)
def test_a_string_has_the_quotes_that_formatters_prefer(value: object, written: str) -> None:
    source = declarations(read_document({"flagValues": {"f": value}}))
    assert source.splitlines()[-1].partition("default=")[2] == f"{written})"


def test_the_generated_module() -> None:
    document = {"flagValues": {"new-checkout": False, "limits": {"items": 10}}, "segments": {"s": {}}}
    assert declarations(read_document(document)) == (
        '"""Flags, generated by ``aioflags codegen``. Do not edit."""\n'
        "\n"
        "from aioflags import Flag\n"
        "\n"
        'LIMITS = Flag[dict[str, object]]("limits", default={"items": 10})\n'
        'NEW_CHECKOUT = Flag[bool]("new-checkout", default=False)\n'
    )


@pytest.mark.real_time
def test_a_formatter_changes_nothing(tmp_path: Path) -> None:
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
        pytest.param(b'from aioflags import Flag\n\nA = Flag[str]("a", default=', False, id="invalid syntax"),
        pytest.param(b"\0", False, id="a null byte"),
    ],
)
def test_two_modules_are_compared_without_their_formatting(module: bytes, is_same: bool) -> None:
    made = b'from aioflags import Flag\n\nA = Flag[str]("a", default="b")\n'
    assert declare_the_same(module, made) is is_same


def test_a_text_that_is_not_python_equals_only_itself() -> None:
    assert declare_the_same(b"(", b"(")
    assert not declare_the_same(b"(", b"((")


def test_a_document_without_flags_makes_an_empty_module() -> None:
    assert declared(declarations(read_document({}))) == {}


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(["mypy", "--strict", "--cache-dir", "{folder}/cache"], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_type_checkers_accept_the_module(checker: list[str], tmp_path: Path) -> None:
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


def test_flags_that_exist_pass() -> None:
    assert_flags_exist([Flag[bool]("checkout", default=False), Flag("theme", default="light")], document=DOCUMENT)


def test_a_module_generated_from_a_file_passes_with_that_file(tmp_path: Path) -> None:
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


FLAGD = {
    "flags": {
        "checkout": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
        "size": {"state": "ENABLED", "variants": {"small": 1, "large": 20}, "defaultVariant": "large"},
        "ratio": {"state": "DISABLED", "variants": {"none": 0, "half": 0.5}, "defaultVariant": "none"},
        "theme": {"state": "ENABLED", "variants": {"dark": "D", "light": "L"}, "defaultVariant": "absent"},
        "limits": {"state": "ENABLED", "variants": {"free": {"items": 1}}},
        "mixed": {"state": "ENABLED", "variants": {"a": 1, "b": "B"}, "defaultVariant": "b"},
    }
}


def test_flags_of_flagd_are_declared(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_bytes(msgspec.json.encode(FLAGD))
    source = declarations(read_flag_documents([(str(file), file.read_bytes())]))
    assert source.splitlines()[-6:] == [
        'CHECKOUT = Flag[bool]("checkout", default=False)',
        'LIMITS = Flag[dict[str, object]]("limits", default={"items": 1})',
        'MIXED = Flag[object]("mixed", default=None)',
        'RATIO = Flag[float]("ratio", default=0.0)',
        'SIZE = Flag[int]("size", default=20)',
        'THEME = Flag[str]("theme", default="D")',
    ]
    module = module_of(source)
    assert_flags_exist(module, file)
    assert_flags_exist(module, document=FLAGD)
    with pytest.raises(AssertionError, match="can serve 'D', a string"):
        assert_flags_exist([Flag("theme", default=1)], file)


def test_a_malformed_flag_of_flagd_cannot_be_declared() -> None:
    document = read_flag_document({"flags": {"a": {"state": "on", "variants": {"a": 1}}}})
    with pytest.raises(ConfigError, match='the flag "a" cannot be declared: state: expected "ENABLED" or "DISABLED"'):
        declarations(document.change_set)


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        pytest.param(
            [Flag("chekout", default=False)],
            ["the flag 'chekout' is not in the document; did you mean 'checkout'?"],
            id="an unknown key, with the nearest key",
        ),
        pytest.param(
            [Flag("theme", default=False), Flag("x", default=1), Flag("limits", default={})],
            [
                "the flag 'theme' is declared with the default False, a boolean, and can serve 'dark', a string",
                "the flag 'x' is not in the document",
            ],
            id="several mistakes, and a value of another type",
        ),
        pytest.param([], ["no flag is declared"], id="nothing to check"),
    ],
)
def test_flags_that_differ_from_their_declaration_fail(flags: list[Flag[Any]], messages: list[str]) -> None:
    with pytest.raises(AssertionError) as failure:
        assert_flags_exist(flags, document=DOCUMENT)
    assert str(failure.value).splitlines() == messages
