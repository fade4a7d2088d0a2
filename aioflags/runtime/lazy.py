"""Names of a package that are loaded at their first use, and that show the public path they are imported from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import FunctionType
from typing import Any, ForwardRef

__all__ = ["on_demand", "publish"]


def on_demand(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: ``homes`` maps its modules, by their full names, to the public names that each defines.

    Type checkers must not see it, or they accept any name as one of the package's: bind it where ``TYPE_CHECKING`` is false.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        """Load a name, once."""
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        # All that is imported by now: an exception is raised and shown although its name was never asked for.
        for module, names in homes.items():
            if module in sys.modules:
                publish(package, vars(sys.modules[module]), names)
        setattr(sys.modules[package], name, value)
        return value

    return load


def publish(package: str, defined: Mapping[str, Any], names: Sequence[str]) -> None:
    """Let classes and functions name ``package`` as their module, in reprs, tracebacks and pickles.

    Of two packages that export a name, the shorter path stays. A name that its module has not defined yet is left alone.
    """
    for name in names:
        value = defined.get(name)
        if isinstance(value, (type, FunctionType)) and len(package) < len(value.__module__):
            if isinstance(value, type):
                _bind_annotations(value)
            value.__module__ = package


def _bind_annotations(cls: type) -> None:
    """Keep ``typing.get_type_hints`` working: it looks up the text of an annotation in the module that the class names."""
    annotations: Mapping[str, object] = cls.__annotations__
    if annotations:
        cls.__annotations__ = {
            name: ForwardRef(hint, is_argument=False, module=cls.__module__, is_class=True) if isinstance(hint, str) else hint
            for name, hint in annotations.items()
        }
