"""Flags of a document become a module that declares them, typed: one constant a flag.

Keys and defaults come from people and services, so they enter the module as literals alone, by ``repr``; names are made of
letters, digits and underscores, whatever the key is.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aioflags.model.change import ChangeSet
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import fresh, is_array, is_number

__all__ = ["constant_names", "declarations", "declared_type"]

_HEAD: Final = '''\
"""Flags, declared by ``aioflags codegen``. Made anew whenever flags come or go; not to be edited."""
'''
_OTHERS: Final = re.compile(r"[^A-Za-z0-9]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TAIL: Final = 6
"""How many digits of a hash tell names apart that would be the same."""


def declarations(document: ChangeSet) -> str:
    """The source of a module that declares every flag, in order of keys."""
    found = {change.key: change.definition for change in document.changes if isinstance(change.definition, FlagDefinition)}
    names = constant_names(found)
    lines = [f"{names[key]} = {_declared(key, found[key])}" for key in sorted(found)]
    imports: list[str] = []
    if any("Any" in declared_type(flag.variations or ()) for flag in found.values()):
        imports.append("from typing import Any\n")
    if found:
        imports.append("from aioflags import Flag\n")
    return "\n".join([_HEAD, *imports, *lines]).rstrip("\n") + "\n"


def constant_names(keys: Iterable[str]) -> dict[str, str]:
    """A name for each key: ``new-checkout`` is ``NEW_CHECKOUT``.

    Keys whose names would be the same get some digits of a hash besides, each of them: numbering them would let a name mean
    another flag when one is added. The names are stable as long as no such key comes or goes.
    """
    keys = sorted(set(keys))
    plain = {key: _plain_name(key) for key in keys}
    shared = Counter(plain.values())
    names = {key: plain[key] if shared[plain[key]] == 1 else _with_hash(key, plain[key], _TAIL) for key in keys}
    for digits in range(_TAIL + 1, 65):
        # A key may be written like a name with its hash.
        shared = Counter(names.values())
        if not (clashing := [key for key in keys if shared[names[key]] > 1]):
            break
        names.update({key: _with_hash(key, plain[key], digits) for key in clashing})
    return names


def _plain_name(key: str) -> str:
    name = _OTHERS.sub("_", _HUMP.sub("_", key)).strip("_").upper()
    # Without a letter in front it would be no name. Keywords need no care: none is in capitals.
    return name if name[:1].isalpha() else f"FLAG_{name}".rstrip("_")


def _with_hash(key: str, name: str, digits: int) -> str:
    return f"{name}_{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:digits].upper()}"


def declared_type(variations: Sequence[Any]) -> str:
    """The type that all variations have, as it is written in Python; ``Any`` if they have none in common."""
    types = {_type(value) for value in variations}
    if types == {"int", "float"}:
        return "float"
    return types.pop() if len(types) == 1 else "Any"


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "str"
    if is_number(value):
        return "int" if isinstance(value, int) else "float"
    if is_array(value):
        return "list[Any]"
    return "dict[str, Any]" if isinstance(value, Mapping) else "Any"


def _declared(key: str, flag: FlagDefinition) -> str:
    return f"Flag[{declared_type(flag.variations or ())}]({key!r}, default={_default(flag)!r})"


def _default(flag: FlagDefinition) -> Any:
    """What the flag serves while it is off, else its first variation; ``None`` if it has none."""
    variations = flag.variations or ()
    off = flag.off_variation
    index = off if off is not None and 0 <= off < len(variations) else 0
    return fresh(variations[index]) if variations else None
