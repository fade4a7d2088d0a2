"""LaunchDarkly's JSON formats of a single-kind context: the current one with ``kind``, and the old one of users.

The readers return the arguments for a context, or the error message as a string. Nothing here knows the class
:class:`~aioflags.model.context.Context`.

Source: ``evaluation.md`` 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from aioflags.model.attributes import AttributeReference, json_or_same, text_names
from aioflags.model.values import fresh, is_array, type_name
from aioflags.runtime.logs import Once, class_name, logger

# -- Checks of the properties of a context. Each returns an error message, or ``None`` for a valid value.
# Source: ``evaluation.md`` 1.


_KIND: Final = re.compile(r"[A-Za-z0-9._-]+")
_RESERVED_KINDS: Final = frozenset({"kind", "multi"})


def kind_error(kind: object) -> str | None:
    """Check a kind: letters, digits and ``. _ -``, not a reserved word."""
    if not isinstance(kind, str):
        error = type_error("kind", kind, "a string")
        return f"{error}; name the attributes: Context(key, attributes={{…}})" if isinstance(kind, Mapping) else error
    if kind in _RESERVED_KINDS:
        return f"kind: {kind!r} is reserved"
    return None if _KIND.fullmatch(kind) else "kind: only the characters A-Z a-z 0-9 . _ - are allowed, and at least one of them"


def key_error(key: object) -> str | None:
    """Check a key: a string that is not empty."""
    if not isinstance(key, str):
        return type_error("key", key, "a string")
    return None if key else "key: expected a string that is not empty"


def is_absent(key: object) -> bool:
    """Whether the key is ``None`` or empty."""
    return key is None or (isinstance(key, str) and not key)


def name_error(name: object) -> str | None:
    """Check a name: a string or ``None``."""
    return None if isinstance(name, str | None) else type_error("name", name, "a string")


def anonymous_error(anonymous: object) -> str | None:
    """Check ``anonymous``: a boolean."""
    return None if isinstance(anonymous, bool) else type_error("anonymous", anonymous, "a boolean")


def read_references(private: object) -> tuple[str, ...] | str:
    """The references of private attributes as text, or the error message."""
    if isinstance(private, str) or not isinstance(private, Iterable):
        return type_error("private", private, "a list of strings")
    references = tuple(map(json_or_same, cast("Iterable[object]", private)))
    are_texts = all(isinstance(reference, str) for reference in references)
    return references if are_texts else "private: expected a list of strings, and an item is not a string"


def type_error(name: str, value: object, expected: str) -> str:
    """The error message for a value of a wrong type."""
    return f"{name}: expected {expected}, got {'None' if value is None else class_name(value)}"


BUILT_IN: Final = frozenset({"kind", "key", "name", "anonymous"})
"""Names that are properties of a context and never custom attributes."""

NOT_CUSTOM: Final = BUILT_IN | {"_meta", ""}
"""All names that custom attributes cannot have."""

LEGACY_ATTRIBUTES: Final = ("name", "firstName", "lastName", "email", "country", "avatar", "ip")
"""The attributes of a legacy user that are not inside ``custom``."""

IGNORED: Final = Once()
"""Names in ``attributes`` for which this process already logged that they are ignored."""


def take_properties(attributes: dict[str, object], name: object, *, anonymous: object) -> tuple[object, object]:
    """Remove names that cannot be custom attributes. Return ``name`` and ``anonymous``, where absent the ones that were removed."""
    for removed in NOT_CUSTOM & attributes.keys():
        value = attributes.pop(removed)
        if removed in {"kind", "key"}:
            if IGNORED(removed):
                logger.warning("Context: %r inside attributes is ignored; pass %s=… instead", removed, removed)
        elif removed == "name" and name is None and isinstance(value, str):
            name = value
        elif removed == "anonymous" and anonymous is False and isinstance(value, bool):
            anonymous = value
    return name, anonymous


Arguments: TypeAlias = dict[str, Any]
"""The keyword arguments of a context."""


def read_single(data: Mapping[str, object]) -> Arguments | str:
    """Read a context of one kind. The types of ``name`` and ``anonymous`` are left to the context to check."""
    meta = data.get("_meta")
    if not isinstance(meta, Mapping | None):
        return "_meta: expected an object"
    private = cast("Mapping[str, object]", meta or {}).get("privateAttributes")
    if not _is_optional_strings(private):
        return "privateAttributes: expected an array of strings"
    if "" in data:
        return "an attribute has an empty name"
    # A client-side client generates the key of an anonymous context, so its other properties are kept.
    key = None if is_absent(data.get("key")) else data["key"]
    lacks_only_key = key is None and data.get("anonymous") is True
    if error := kind_error(data.get("kind")) or (None if lacks_only_key else key_error(data.get("key"))):
        return error
    return {
        "key": key,
        "kind": data["kind"],
        "name": data.get("name"),
        "anonymous": data.get("anonymous", False),
        "attributes": {name: value for name, value in data.items() if name not in NOT_CUSTOM and value is not None},
        "private": private or (),
    }


def read_context(data: object) -> Arguments | list[Arguments | str] | str:
    """Read a context of one kind, or the members of one of several kinds."""
    if not isinstance(data, Mapping):
        return f"expected an object, got {type_name(data)}"
    properties = cast("Mapping[str, object]", data)
    if "kind" not in properties:
        return 'missing "kind" (Context.from_legacy_user reads users without it)'
    if properties["kind"] != "multi":
        return read_single(properties)
    members: list[Arguments | str] = []
    for kind, member in properties.items():
        if kind == "kind":
            continue
        if not isinstance(member, Mapping):
            return f"multi-kind context: expected an object for {kind!r}, got {type_name(member)}"
        members.append(read_single({**cast("Mapping[str, object]", member), "kind": kind}))
    return members


def read_user(user: object) -> Arguments | str:
    """Read a legacy user. ``custom`` has its other attributes; ``privateAttributeNames`` are literal names, not references."""
    if not isinstance(user, Mapping):
        return f"user: expected an object, got {type_name(user)}"
    data = cast("Mapping[str, object]", user)
    key, anonymous = data.get("key"), data.get("anonymous")
    custom, private = data.get("custom"), data.get("privateAttributeNames")
    if not isinstance(key, str):
        return "key of a user: expected a string"
    if invalid := [name for name in LEGACY_ATTRIBUTES if not isinstance(data.get(name), str | None)]:
        return f"{invalid[0]} of a user: expected a string"
    if not isinstance(anonymous, bool | None):
        return "anonymous of a user: expected a boolean"
    if not isinstance(custom, Mapping | None):
        return "custom of a user: expected an object"
    if not _is_optional_strings(private):
        return "privateAttributeNames: expected an array of strings"
    attributes = {name: data.get(name) for name in LEGACY_ATTRIBUTES if name != "name"}
    attributes.update(cast("Mapping[str, object]", custom or {}))
    for name in NOT_CUSTOM - {""}:
        attributes.pop(name, None)
    return {
        "key": key,
        "name": data.get("name"),
        "anonymous": bool(anonymous),
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "private": [str(AttributeReference.literal(name)) for name in cast("Sequence[str]", private or ())],
    }


def _is_optional_strings(value: object) -> bool:
    return value is None or (is_array(value) and all(isinstance(item, str) for item in value))


def properties_of(single: Any) -> dict[str, Any]:
    """A context of one kind as JSON, without its kind."""
    properties: dict[str, Any] = {"key": single.key}
    if single.name is not None:
        properties["name"] = single.name
    if single.anonymous:
        properties["anonymous"] = True
    properties.update((name, fresh(value)) for name, value in text_names(single.attributes).items() if value is not None)
    if single.private:
        properties["_meta"] = {"privateAttributes": list(single.private)}
    return properties
