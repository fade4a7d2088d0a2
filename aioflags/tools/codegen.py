"""Flags of a document become a module that declares them, typed: one constant a flag.

Keys and defaults come from people and services, so they enter the module as literals alone; names are made of letters,
digits and underscores, whatever the key is.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from aioflags.errors import ConfigError
from aioflags.evaluation.value_types import MISMATCH, fit
from aioflags.model.change import ChangeSet
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import is_array, is_number

__all__ = ["constant_names", "declarations", "declare_the_same", "declared_type"]

_HEAD: Final = '''\
"""Flags, declared by ``aioflags codegen``. Made anew whenever flags come or go; not to be edited."""
'''
_OTHERS: Final = re.compile(r"[^A-Za-z0-9]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TAIL: Final = 6
"""How many digits of a hash tell names apart that would be the same."""


def declarations(document: ChangeSet) -> str:
    """The source of a module that declares every flag, in order of keys.

    Raises:
        ConfigError: a flag has an empty key, with which nothing can be declared.
    """
    found = {change.key: change.definition for change in document.changes if isinstance(change.definition, FlagDefinition)}
    if "" in found:
        raise ConfigError("a flag has an empty key, which cannot be declared: take it out of the file, or give it a key")
    names = constant_names(found)
    lines = [f"{names[key]} = {_declared(key, found[key])}" for key in sorted(found)]
    imports = ["from aioflags import Flag\n"] if found else []
    return "\n".join([_HEAD, *imports, *lines]).rstrip("\n") + "\n"


def declare_the_same(one: bytes, other: bytes) -> bool:
    """Whether two modules say the same, however they are laid out: a formatter may have gone over one of them."""
    return one == other or ((tree := _tree(one)) is not None and tree == _tree(other))


def _tree(source: bytes) -> str | None:
    try:
        return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError):  # the latter for null bytes
        return None


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
    """The type that all variations have, as it is written in Python; ``object`` if they have none in common."""
    types = {_type(value) for value in variations}
    if types == {"int", "float"}:
        return "float"
    return types.pop() if len(types) == 1 else "object"


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "str"
    if is_number(value):
        return "int" if isinstance(value, int) else "float"
    if is_array(value):
        return "list[object]"
    return "dict[str, object]" if isinstance(value, Mapping) else "object"


def _declared(key: str, flag: FlagDefinition) -> str:
    declared = declared_type(flag.variations or ())
    return f"Flag[{declared}]({_literal(key)}, default={_literal(_default(flag, declared))})"


def _default(flag: FlagDefinition, declared: str) -> Any:
    """What the flag serves while it is off; without that ``False``, or else its first variation.

    An outage must not turn on what nobody can turn off. A default is also the type that is asked for, so that a flag of no one
    type gets ``None``, which asks for any.
    """
    variations = flag.variations or ()
    off = flag.off_variation
    if declared == "object":
        return None
    is_there = off is not None and 0 <= off < len(variations)
    if declared == "bool" and not is_there:
        return False
    value = variations[off if off is not None and is_there else 0]
    if declared == "float":
        # A whole number would ask for whole ones. One that is too large for a float leaves the place to another.
        return next(number for candidate in (value, *variations) if (number := fit(candidate, float)) is not MISMATCH)
    return value


def _literal(value: Any) -> str:
    """JSON as Python writes it, with quotes as formatters have them: double ones, unless that takes more backslashes."""
    if isinstance(value, str):
        return _quoted(value)
    if is_array(value):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value).items()
        return f"{{{', '.join(f'{_literal(name)}: {_literal(member)}' for name, member in members)}}}"
    return repr(value).replace("e+", "e")  # of a large number


def _quoted(text: str) -> str:
    # Of a text with quotes of both kinds, repr escapes the single ones and those alone.
    both = "'\""
    body = repr(text + both)[1:].removesuffix("\\'\"'")
    if text.count('"') > text.count("'"):
        return f"'{body}'"
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'
