"""Loads public names of a package at their first use, and gives them their public import path as ``__module__``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import FunctionType
from typing import Any, ForwardRef


def on_demand(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package. ``modules`` maps the full name of each module to the public names that it defines.

    Bind it only where ``TYPE_CHECKING`` is false. A type checker that sees it accepts every name of the package.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        """Import the module of a name and keep the value in the package."""
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        # Publish the names of all modules that are imported by now: an exception may be raised before its name is used.
        for module, names in modules.items():
            if module in sys.modules:
                publish(package, vars(sys.modules[module]), names)
        setattr(sys.modules[package], name, value)
        return value

    return load


def publish(package: str, defined: Mapping[str, Any], names: Sequence[str]) -> None:
    """Set the ``__module__`` of classes and functions to ``package``, for reprs, tracebacks and pickles.

    If two packages export a name, the shorter path wins. A name that its module does not define yet is skipped.
    """
    for name in names:
        value = defined.get(name)
        if isinstance(value, (type, FunctionType)) and len(package) < len(value.__module__):
            if isinstance(value, type):
                _evaluate_annotations(value)
            value.__module__ = package


def _evaluate_annotations(cls: type) -> None:
    """Replace the text of annotations by types. Libraries such as pydantic evaluate text in the module named by ``__module__``."""
    annotations: Mapping[str, object] = cls.__annotations__
    types = {name: _evaluated(cls, hint) if isinstance(hint, str) else hint for name, hint in annotations.items()}
    if types:
        cls.__annotations__ = types
    for name, field in vars(cls).get("__dataclass_fields__", {}).items():
        field.type = types.get(name, field.type)


def _evaluated(cls: type, hint: str) -> object:
    """The type, or its text tied to the module that defines the class."""
    # A name with a dot may belong to a package that loads its names at their first use. Those of structs are evaluated all the
    # same: on CPython 3.14 msgspec does not read the module of a ForwardRef.
    if "." not in hint or hasattr(cls, "__struct_fields__"):
        with suppress(NameError):  # a name for type checkers
            evaluated: object = eval(hint, vars(sys.modules[cls.__module__]))  # noqa: S307 -- text of this package
            return evaluated
    return ForwardRef(hint, is_argument=False, module=cls.__module__, is_class=True)
