"""The modules of the folder import each other in one direction, for type checkers, too."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import aioflags.evaluation

FOLDER = Path(aioflags.evaluation.__file__).parent
PACKAGE = "aioflags.evaluation."


def neighbours(path: Path) -> set[str]:
    """The modules of the folder that one of them imports, wherever the import stands."""
    imports = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom))
    return {module.removeprefix(PACKAGE) for node in imports if (module := node.module or "").startswith(PACKAGE)}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {path.stem: neighbours(path) for path in FOLDER.glob("*.py")}
    assert "scope" in graph["forms"] | graph["clauses"]
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert order.index("scope") < order.index("forms") < order.index("snapshot")
