"""The public API as text: each public name with its signature, its members, and their signatures.

``python -m tests.package.surface`` writes ``surface.txt``, so that a commit shows what it changes of the API.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from aioflags.runtime.deprecation import Deprecation, deprecation_of

MODULES = (
    "aioflags",
    "aioflags.aiohttp",
    "aioflags.asgi",
    "aioflags.django",
    "aioflags.errors",
    "aioflags.fastapi",
    "aioflags.hooks",
    "aioflags.litestar",
    "aioflags.migration",
    "aioflags.mobile",
    "aioflags.openfeature",
    "aioflags.otel",
    "aioflags.plugins",
    "aioflags.sentry",
    "aioflags.sources",
    "aioflags.stores",
    "aioflags.testing",
    "aioflags.testing.toxics",
)
PREFIXES: dict[type, str] = {property: "property ", classmethod: "classmethod ", staticmethod: "staticmethod "}
SURFACE = Path(__file__).with_name("surface.txt")


def main() -> None:
    """Write the file anew."""
    SURFACE.write_text(text(), encoding="utf-8")


def text() -> str:
    """A line for each public name and each public member of a class, in the order of modules and names."""
    return "".join(f"{line}\n" for module in MODULES for line in _module_lines(module))


def deprecations() -> list[Deprecation]:
    """The mark of each deprecated function and method of the public API."""
    things = [thing for module in MODULES for _, thing in _names(module)]
    members = [member for thing in things if inspect.isclass(thing) for _, member in _members(thing)]
    return [mark for thing in (*things, *members) if (mark := deprecation_of(thing)) is not None]


def _module_lines(module: str) -> Iterator[str]:
    for name, thing in _names(module):
        yield f"{module}.{name}{_shown(thing)}"
        if inspect.isclass(thing) and thing.__module__.startswith("aioflags"):
            yield from (f"    {name}.{member}{_shown(value)}" for member, value in _members(thing))


def _names(module: str) -> list[tuple[str, object]]:
    imported = importlib.import_module(module)
    return [(name, getattr(imported, name)) for name in imported.__all__]


def _members(cls: type) -> list[tuple[str, object]]:
    """What ``cls`` and its bases in the package define, without what Python or a library adds to every class."""
    owners = [base for base in cls.__mro__ if base.__module__.startswith("aioflags")]
    names = {name for base in owners for name in (*vars(base), *vars(base).get("__annotations__", {})) if not name.startswith("_")}
    return [(name, inspect.getattr_static(cls, name, None)) for name in sorted(names)]


def _shown(thing: object) -> str:
    function = getattr(thing, "__func__", thing.fget if isinstance(thing, property) else thing)
    if isinstance(thing, enum.Enum):
        return f" = {thing.value!r}"
    if not inspect.isfunction(function) and not inspect.isclass(function):
        return ""
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    prefix = PREFIXES.get(type(thing), "")
    return f": {prefix}{kind}{'class ' if inspect.isclass(thing) else ''}{_signature(function)}"


def _signature(function: object) -> str:
    try:
        signature = str(inspect.signature(function))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(…)"
    return re.sub(r"<(?:built-in|function|object|Logger)[^,]*>", "…", signature)  # defaults whose repr is an address or a state


if __name__ == "__main__":
    main()
