"""The page for users of ldclient lists each public name of ldclient, and every name of aioflags on it exists."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import ldclient
import pytest

import aioflags
from aioflags import hooks, plugins, sources, stores

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "coming-from-ldclient.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`[^|]*) \|([^|]*)\|[^|]*\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
OURS: Mapping[str, Any] = {
    **{name: getattr(aioflags, name) for name in aioflags.__all__},
    "aioflags": aioflags,
    "client": aioflags.Client,
    "context": aioflags.Context,
    "dataclasses": importlib.import_module("dataclasses"),
    "detail": aioflags.EvaluationDetail,
    "hooks": hooks,
    "plugins": plugins,
    "sources": sources,
    "stores": stores,
}
CONFIGURATIONS = ("Config", "AsyncConfig")
"""Classes whose arguments are public as well, unless they are properties."""
FOR_TYPES = {"TYPE_CHECKING", "T", "T_co"}


def modules() -> Iterator[ModuleType]:
    """The public modules: without those whose path is marked as internal, and without tests."""
    yield ldclient
    for found in pkgutil.walk_packages(ldclient.__path__, "ldclient."):
        if not {"impl", "testing"} & set(found.name.split(".")):
            yield importlib.import_module(found.name)


def members(thing: type) -> Iterator[str]:
    """The public members of a class itself."""
    yield from (name for name in {**vars(thing), **inspect.get_annotations(thing)} if not name.startswith("_"))
    if thing.__name__ in CONFIGURATIONS:
        yield from (name for name in inspect.signature(thing).parameters if not hasattr(thing, name))


def public(module: ModuleType) -> Iterator[str]:
    """The names that a module defines or exports, with the members of its classes."""
    listed: set[str] = set(getattr(module, "__all__", ()))
    for name, thing in vars(module).items():
        if name.startswith("_") or name in FOR_TYPES or inspect.ismodule(thing) or name == "log":
            continue
        home = getattr(thing, "__module__", None)
        is_inside = not str(home).startswith("ldclient") or ".impl" in str(home)
        is_constant = home is None and not _is_imported(module, name)
        if home == module.__name__ or is_constant or (name in listed and is_inside):
            yield name
            if inspect.isclass(thing):
                yield from (f"{name}.{member}" for member in members(thing))


def _is_imported(module: ModuleType, name: str) -> bool:
    """Whether a constant is from another module."""
    return not re.search(rf"^{name}\s*(?::[^=]*)?=", inspect.getsource(module), re.MULTILINE)


def written() -> dict[str, set[str]]:
    """Module → the names in its sections; ``Name.*`` stands for all members."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        names = {name for row in ROW.findall(section) for name in CODE.findall(row[0])}
        for module in re.findall(r"ldclient[\w.]*", section.partition("\n")[0]):
            found.setdefault(module, set()).update(names)
    return found


WRITTEN = written()


def is_written(module: str, name: str) -> bool:
    names = WRITTEN.get(module, set[str]())
    return name in names or f"{name.partition('.')[0]}.*" in names


@pytest.mark.parametrize("module", list(modules()), ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_page(module: ModuleType) -> None:
    assert sorted(name for name in public(module) if not is_written(module.__name__, name)) == []


def test_every_name_on_the_page_is_in_its_module() -> None:
    there = {module.__name__: set(public(module)) for module in modules()}
    assert set(WRITTEN) - {"ldclient"} <= set(there)
    for heading in {frozenset(WRITTEN[module]): None for module in WRITTEN}:
        known = set[str]().union(*(there[module] for module in WRITTEN if WRITTEN[module] == heading))
        assert {name for name in heading if name.removesuffix(".*") not in known} == set()


def test_the_public_names_are_found() -> None:
    names = {name for module in modules() for name in public(module)}
    assert {"LDClient.variation", "AsyncLDClient.start", "Config.defaults", "EvaluationSeriesContext.key", "Redis"} <= names
    assert len(names) > 500


def ours() -> Iterator[str]:
    for _, cell in ROW.findall(PAGE):
        for code in CODE.findall(cell):
            yield code.removeprefix("await ").partition("(")[0]


@pytest.mark.parametrize("name", sorted(set(ours())))
def test_every_replacement_on_the_page_exists(name: str) -> None:
    first, *rest = name.split(".")
    if first == "aioflags":
        first, *rest = rest
        owner: Any = importlib.import_module(f"aioflags.{first}")
    else:
        owner = OURS[first]
    *path, last = rest or [""]
    found = reduce(getattr, path, owner)
    assert not last or hasattr(found, last) or last in getattr(found, "__dataclass_fields__", ())
