"""Imports go down the floors (``architecture.md`` 1): this test reads every import of the package and names the offender."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "aioflags"

FLOORS = {
    # Beside the staircase: anybody may use these.
    "errors": -1,
    "clock": -1,
    "logs": -1,
    "version": -1,
    "forks": -1,
    "lazy": -1,
    "strays": -1,
    "threads": -1,
    "regular_files": -1,
    # Folders. Two on one floor do not know each other.
    "model": 0,
    "evaluation": 1,
    "protocol": 2,
    "transport": 3,
    "stores": 3,
    "sources": 4,
    "events": 4,
    "supervisor": 5,
    # Files and folders side by side: each may know those above it in this list.
    "ambient": 6,
    "interventions": 6,
    "hooks": 6,
    "backlog": 6,
    "series": 6,
    "plugins": 6,
    "registration": 6,
    "persistence": 6,
    "migration": 6,
    "config": 6,
    "environment": 6,
    "description": 6,
    "typed": 6,
    "changes": 6,
    "status": 6,
    "observers": 6,
    "flights": 6,
    "recent": 6,
    "turns": 6,
    "memberships": 6,
    "fast_path": 6,
    "evaluator": 6,
    "flags": 6,
    "core": 6,
    "wire": 6,
    "telling": 6,
    "totals": 6,
    "upkeep": 6,
    "client": 6,
    "__init__": 6,
    "otel": 7,
    "sentry": 7,
    "lint": 7,
    "frameworks": 7,
    "asgi": 7,
    "fastapi": 7,
    "aiohttp": 7,
    "devserver": 7,
    "testing": 7,
    "codegen": 7,
    "diagnosis": 7,
    "cli": 7,
    "__main__": 7,
}
SIDE_BY_SIDE = {-1, 6, 7}
STRANGERS = {("protocol", "evaluation")}
"""Rooms that do not know each other although one is above the other."""

LIBRARIES = {
    "msgspec": range(8),
    "re2": range(1, 2),
    "yaml": range(2, 3),
    "asyncio": {-1, *range(3, 8)},
    "socket": range(3, 8),
    "ssl": range(3, 8),
    "anyio": range(3, 8),
    "httpx": range(3, 4),
    "httpcore": range(3, 4),
    "httpx_sse": range(3, 4),
    "redis": range(3, 4),
    "fastapi": range(7, 8),
    "aiohttp": range(7, 8),
    "opentelemetry": range(7, 8),
    "sentry_sdk": range(7, 8),
    "watchfiles": range(4, 5),
    "starlette": range(7, 8),
    "uvicorn": range(7, 8),
    "click": range(7, 8),
    "pytest": range(7, 8),
    "pytest_asyncio": range(7, 8),
    "rich": range(7, 8),
}
"""Where other people's code may be imported; of the standard library, only what opens sockets or runs loops is listed."""

ORDER = list(FLOORS)


class _Imports(ast.NodeVisitor):
    """Collects dotted names that are imported when the code runs, in functions too, but not for type checkers alone."""

    def __init__(self) -> None:
        self.names: list[tuple[int, str]] = []

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in node.orelse:
                self.visit(inner)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.names += [(node.lineno, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.names += [(node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names]


def room_of(path: str) -> str:
    """The folder or file right below the package that a module, given as ``model/flag.py``, lives in."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def offences(path: str, source: str) -> Iterator[str]:
    """Why the module at ``path`` (relative to the package) may not import what it imports; nothing, if all is well."""
    room = room_of(path)
    if room not in FLOORS:
        yield f"{path}: {room!r} has no floor; give it one in {Path(__file__).name}"
        return
    imports = _Imports()
    imports.visit(ast.parse(source))
    for line, name in imports.names:
        if (why := _objection(room, name)) is not None:
            yield f"{path}:{line} imports {name}: {why}"


def _objection(room: str, name: str) -> str | None:
    floor = FLOORS[room]
    top, *rest = name.split(".")
    if top != "aioflags":
        allowed = LIBRARIES.get(top, range(-1, 8) if top in sys.stdlib_module_names else range(0))
        return None if floor in allowed else f"not on floor {floor}"
    target = rest[0] if rest and rest[0] in FLOORS else "__init__"
    if target == room or FLOORS[target] == -1 > floor:
        return None
    if (room, target) in STRANGERS:
        return f"{room} does not know {target}"
    if FLOORS[target] == floor and floor in SIDE_BY_SIDE:
        return None if ORDER.index(target) < ORDER.index(room) else f"{target} stands above {room} on floor {floor}"
    if FLOORS[target] >= floor:
        return f"floor {FLOORS[target]} is not below floor {floor}"
    return None


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_from_its_own_room_and_from_below(path: str) -> None:
    assert list(offences(path, (PACKAGE / path).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("path", "source", "offender"),
    [
        pytest.param("model/flag.py", "from aioflags.evaluation.flags import x", "floor 1 is not below floor 0", id="upwards"),
        pytest.param("protocol/fdv2.py", "import aioflags.evaluation", "protocol does not know evaluation", id="strangers"),
        pytest.param("sources/polling.py", "import httpx", "not on floor 4", id="a library above its floor"),
        pytest.param("protocol/fdv1.py", "import anyio.lowlevel", "not on floor 2", id="a library below its floor"),
        pytest.param("cli/main.py", "import requests", "not on floor 7", id="a library nobody allowed"),
        pytest.param("model/flag.py", "def f():\n  import asyncio", "flag.py:2 imports asyncio", id="inside a function"),
        pytest.param("core.py", "from aioflags.client import Client", "client stands above core", id="side by side, upwards"),
        pytest.param("core.py", "from aioflags import Client", "__init__ stands above core", id="through the front door"),
        pytest.param("utils.py", "", "'utils' has no floor", id="a file without a floor"),
    ],
)
def test_the_offender_is_named(path: str, source: str, offender: str) -> None:
    (found,) = offences(path, source)
    assert offender in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("supervisor/tenure.py", "import anyio, logging\nfrom aioflags.model.result import Update", id="downwards"),
        pytest.param("transport/http.py", "import ssl, httpx\nfrom aioflags.transport.stream_limits import x", id="its own room"),
        pytest.param("evaluation/patterns.py", "from aioflags.runtime.logs import logger\nimport re2", id="beside the staircase"),
        pytest.param("model/flag.py", "if TYPE_CHECKING:\n  from aioflags.client import Client", id="for type checkers alone"),
        pytest.param("cli/demo.py", "from aioflags import Client\nfrom aioflags.devserver import serve", id="side by side"),
    ],
)
def test_nothing_is_held_against(path: str, source: str) -> None:
    assert list(offences(path, source)) == []


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
def test_no_network_and_no_framework_comes_with(use: str) -> None:
    program = f"import aioflags, json, sys\n{use}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    heavy = {
        "httpx",
        "httpcore",
        "httpx_sse",
        "h11",
        "click",
        "starlette",
        "rich",
        "uvicorn",
        "watchfiles",
        "re2",
        "redis",
        "fastapi",
        "aiohttp",
        "opentelemetry",
        "sentry_sdk",
    }
    assert heavy & set(json.loads(ran.stdout)) == set()
