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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import Flag
from aioflags.codegen import constant_names, declarations, declared_type
from aioflags.model.values import same_json
from aioflags.protocol.document import read_document
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
    """Whether a module has nothing but a docstring, two imports, and names for calls of ``Flag`` with literals."""
    first, *others = ast.parse(source).body
    assert isinstance(first, ast.Expr)
    for one in others:
        match one:
            case ast.ImportFrom(module="typing" | "aioflags", names=[ast.alias(name="Any" | "Flag")]):
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
    assert all(same_json(flag.default, values[flag.key]) for flag in found.values())
    assert len(source.splitlines()) <= len(values) + 6


@pytest.mark.parametrize(
    ("variations", "written"),
    [
        pytest.param([True, False], "bool", id="booleans"),
        pytest.param(["a"], "str", id="strings"),
        pytest.param([1, 2], "int", id="whole numbers"),
        pytest.param([1, 2.5], "float", id="numbers"),
        pytest.param([{"a": 1}, {}], "dict[str, Any]", id="objects"),
        pytest.param([[1], []], "list[Any]", id="arrays"),
        pytest.param([True, 1], "Any", id="a boolean is no number"),
        pytest.param(["a", None], "Any", id="nothing in common"),
        pytest.param([None], "Any", id="null"),
        pytest.param([], "Any", id="nothing"),
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
    ],
)
def test_the_default_is(flag: dict[str, Any], default: object) -> None:
    (found,) = declared(declarations(read_document({"flags": {"f": flag}}))).values()
    assert found.default == default


def test_a_module_reads() -> None:
    document = {"flagValues": {"new-checkout": False, "limits": {"items": 10}}, "segments": {"s": {}}}
    assert declarations(read_document(document)) == (
        '"""Flags, declared by ``aioflags codegen``. Made anew whenever flags come or go; not to be edited."""\n'
        "\n"
        "from typing import Any\n"
        "\n"
        "from aioflags import Flag\n"
        "\n"
        "LIMITS = Flag[dict[str, Any]]('limits', default={'items': 10})\n"
        "NEW_CHECKOUT = Flag[bool]('new-checkout', default=False)\n"
    )


def test_a_document_without_flags_makes_an_empty_module() -> None:
    assert declared(declarations(read_document({}))) == {}


@pytest.mark.real_time
@pytest.mark.timeout(180)
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
        f"    assert_type(client.flags_nowait().variation(generated.{name['ratio']}), float)\n",
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
    file.write_text('{"flagValues": {"checkout": true}}')
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
