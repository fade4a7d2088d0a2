"""Imports go down the layers (``architecture.md`` 1). The tests read every import, also those for type checkers."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "aioflags"

LAYERS: dict[str, int] = {
    # Any module may import these.
    "errors": -1,
    "runtime": -1,
    # Two folders of one layer do not import each other. On the layers of ORDERED_LAYERS a folder may import those of its layer that
    # stand above it in this list.
    "model": 0,
    "evaluation": 1,
    "protocol": 2,
    "transport": 3,
    "stores": 3,
    "sources": 4,
    "events": 4,
    "supervisor": 5,
    "persistence": 5,
    "hooks": 6,
    "plugins": 6,
    "migration": 6,
    "client_core": 6,
    "config": 6,
    "client": 6,
    "flagd": 6,
    "mobile": 6,
    "__init__": 6,
    "otel": 7,
    "sentry": 7,
    "asgi": 7,
    "fastapi": 7,
    "aiohttp": 7,
    "litestar": 7,
    "django": 7,
    "openfeature": 7,
    "tools": 7,
    "devserver": 7,
    "testing": 7,
    "cli": 7,
    "__main__": 7,
}
ORDER = list(LAYERS)
ORDERED_LAYERS = {-1, 3, 5, 6, 7}
SEPARATE = {("protocol", "evaluation")}
"""(folder, folder): the first does not import the second although its layer is higher."""
CIRCULAR = {("plugins.py", name) for name in ("aioflags.client.client", "aioflags.flagd.client", "aioflags.mobile.environment")}
"""The imports that close a circle, for type checkers alone: authors of plugins want the real type of ``register(client)``."""
UPWARD = CIRCULAR | {("errors.py", "aioflags.model.status")}
"""Imports that go up, for type checkers alone. ``NotReadyError.report`` is a ``StatusReport``."""

LIBRARIES: dict[str, set[int]] = {
    "msgspec": set(range(-1, 8)),
    "re2": {1},
    "yaml": {2},
    "asyncio": {-1, *range(3, 8)},
    "socket": {*range(3, 8)},
    "ssl": {*range(3, 8)},
    "anyio": {-1, *range(3, 8)},
    "httpx": {3},
    "h11": {7},
    "httpcore": {3},
    "certifi": {3},
    "httpx_sse": {3, 4},
    "redis": {3},
    "aiobotocore": {3},
    "botocore": {3},
    "google": {3, 7},
    "grpc": {3, 7},
    "watchfiles": {4},
    "fastapi": {7},
    "aiohttp": {7},
    "litestar": {7},
    "asgiref": {7},
    "django": {7},
    "opentelemetry": {7},
    "openfeature": {7},
    "sentry_sdk": {7},
    "starlette": {7},
    "uvicorn": {7},
    "click": {7},
    "pytest": {7},
    "pytest_asyncio": {7},
    "rich": {7},
}
"""The layers that may import a library. Of the standard library only what opens sockets or runs event loops is listed."""
LOOPS = {"anyio", "asyncio"}
"""Layers 0 to 2 import neither, not through ``runtime`` either."""


@dataclass(frozen=True)
class Import:
    """One import statement: its line, the dotted name, and whether a function imports it when it is called."""

    line: int
    name: str
    lazy: bool


class _Imports(ast.NodeVisitor):
    def __init__(self) -> None:
        self.imports: list[Import] = []
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [Import(node.lineno, alias.name, self._depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports += [Import(node.lineno, f"{node.module or ''}.{alias.name}", self._depth > 0) for alias in node.names]


def imports_of(source: str) -> list[Import]:
    visitor = _Imports()
    visitor.visit(ast.parse(source))
    return visitor.imports


def folder_of(path: str) -> str:
    """The folder or module right below the package that a module, given as ``model/flag.py``, lives in."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def offences(path: str, source: str) -> Iterator[str]:
    """Why the module at ``path`` (relative to the package) may not import what it imports."""
    folder = folder_of(path)
    if folder not in LAYERS:
        yield f"{path}: {folder!r} has no layer; give it one in {Path(__file__).name}"
        return
    for statement in imports_of(source):
        if any(path == module and statement.name.startswith(target) for module, target in UPWARD):
            continue
        if (why := _objection(folder, statement.name)) is not None:
            yield f"{path}:{statement.line} imports {statement.name}: {why}"


def _objection(folder: str, name: str) -> str | None:
    layer = LAYERS[folder]
    top, *rest = name.split(".")
    if top != "aioflags":
        everywhere = top in sys.stdlib_module_names or top == "_typeshed"  # the latter is for type checkers alone
        allowed = LIBRARIES.get(top, set(range(-1, 8)) if everywhere else set[int]())
        return None if layer in allowed else f"not on layer {layer}"
    target = rest[0] if rest and rest[0] in LAYERS else "__init__"
    if target == folder or LAYERS[target] == -1 > layer:
        return None
    if (folder, target) in SEPARATE:
        return f"{folder} does not import {target}"
    if LAYERS[target] == layer and layer in ORDERED_LAYERS:
        return None if ORDER.index(target) < ORDER.index(folder) else f"{target} stands below {folder} in the list of layer {layer}"
    if LAYERS[target] >= layer:
        return f"layer {LAYERS[target]} is not below layer {layer}"
    return None


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, each sorted."""
    reached = {start: _reachable(graph, start) for start in graph}
    groups = {
        frozenset({start} | {end for end in reached[start] if start in reached[end]}) for start in graph if start in reached[start]
    }
    return sorted(sorted(group) for group in groups)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for target in graph.get(left.pop(), set()):
            if target not in seen:
                seen.add(target)
                left.append(target)
    return seen


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
SOURCES = {path: (PACKAGE / path).read_text(encoding="utf-8") for path in MODULES}
NAMES = {"aioflags." + path.removesuffix(".py").replace("/", "."): path for path in MODULES if not path.endswith("__init__.py")}


def module_graph() -> dict[str, set[str]]:
    """Which module imports which when it is imported or type-checked. Imports inside functions do not count, nor do façades."""
    graph: dict[str, set[str]] = {}
    for name, path in NAMES.items():
        targets = {target for statement in imports_of(SOURCES[path]) if not statement.lazy for target in _modules(statement.name)}
        graph[name] = targets - {name} - {target for module, target in CIRCULAR if module == path}
    return graph


def _modules(name: str) -> set[str]:
    return {candidate for candidate in (name, name.rpartition(".")[0]) if candidate in NAMES}


def test_a_module_imports_from_its_folder_and_from_lower_layers() -> None:
    assert [(path, offence) for path in MODULES for offence in offences(path, SOURCES[path])] == []


def test_no_modules_import_each_other() -> None:
    assert circles(module_graph()) == []


def test_layers_without_input_and_output_import_no_event_loop() -> None:
    graph = module_graph()
    with_loops = {name for name, path in NAMES.items() if LOOPS & {i.name.split(".")[0] for i in imports_of(SOURCES[path])}}
    low = [name for name in graph if LAYERS[folder_of(NAMES[name])] in {0, 1, 2}]
    assert {name: sorted(_reachable(graph, name) & with_loops) for name in low if _reachable(graph, name) & with_loops} == {}


def test_a_private_module_is_in_a_folder() -> None:
    frameworks = {"asgi", "fastapi", "aiohttp", "litestar", "django", "sentry"}
    public = {"__init__", "__main__", "errors", "hooks", "plugins", "migration"} | frameworks
    assert {path.removesuffix(".py") for path in MODULES if "/" not in path} == public


def test_a_class_name_is_unique() -> None:
    homes: dict[str, list[str]] = {}
    for path, source in SOURCES.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("path", "source", "offender"),
    [
        pytest.param("model/flag.py", "from aioflags.evaluation.flags import x", "layer 1 is not below layer 0", id="upwards"),
        pytest.param(
            "protocol/fdv2.py", "import aioflags.evaluation", "protocol does not import evaluation", id="separate folders"
        ),
        pytest.param("sources/polling.py", "import httpx", "not on layer 4", id="a library above its layer"),
        pytest.param("protocol/server_side.py", "import anyio.lowlevel", "not on layer 2", id="a library below its layer"),
        pytest.param("cli/main.py", "import requests", "not on layer 7", id="an unlisted library"),
        pytest.param("model/flag.py", "def f():\n  import asyncio", "flag.py:2 imports asyncio", id="inside a function"),
        pytest.param(
            "model/flag.py", "if TYPE_CHECKING:\n  from aioflags.client.client import C", "layer 6", id="for type checkers"
        ),
        pytest.param(
            "config/config.py", "from aioflags.client.client import C", "client stands below config", id="the order of a layer"
        ),
        pytest.param("client/client.py", "from aioflags import Client", "__init__ stands below client", id="through the package"),
        pytest.param("utils.py", "", "'utils' has no layer", id="a module without a layer"),
    ],
)
def test_an_import_that_is_not_allowed_is_reported(path: str, source: str, offender: str) -> None:
    (offence,) = offences(path, source)
    assert offender in offence


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("supervisor/verdict.py", "import anyio, logging\nfrom aioflags.model.change import Update", id="downwards"),
        pytest.param("transport/http.py", "import ssl, httpx\nfrom aioflags.transport.backoff import x", id="its own folder"),
        pytest.param("evaluation/patterns.py", "from aioflags.runtime.logs import logger\nimport re2", id="the runtime folder"),
        pytest.param("plugins.py", "from aioflags.client.client import Client", id="the only import that goes up"),
        pytest.param("cli/demo.py", "from aioflags import Client\nfrom aioflags.devserver import serve", id="the order of a layer"),
    ],
)
def test_an_import_that_is_allowed(path: str, source: str) -> None:
    assert list(offences(path, source)) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param({"a": {"b"}, "b": {"c"}, "c": set[str]()}, [], id="a line"),
        pytest.param({"a": {"b"}, "b": {"a"}}, [["a", "b"]], id="two modules"),
        pytest.param(
            {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]], id="three modules, and one that imports them"
        ),
    ],
)
def test_a_circle_is_detected(graph: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(graph) == expected


@pytest.mark.real_time
@pytest.mark.parametrize(
    "use",
    [
        pytest.param("", id="importing the package"),
        pytest.param("[getattr(aioflags, name) for name in aioflags.__all__]", id="loading every public name"),
        pytest.param("import aioflags.sources", id="importing its sources"),
        pytest.param("import aioflags.stores", id="importing its stores"),
    ],
)
def test_no_network_library_and_no_framework_is_imported_by(use: str) -> None:
    program = f"import aioflags, json, sys\n{use}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    heavy = set(LIBRARIES) - {"anyio", "asyncio", "msgspec", "pytest", "pytest_asyncio", "socket", "ssl", "yaml"}
    assert heavy & set(json.loads(ran.stdout)) == set()
