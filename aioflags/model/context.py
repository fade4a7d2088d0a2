"""Context: who or what a flag is evaluated for, of one kind or of several.

Building one never raises, since contexts are made of request data: an invalid context carries its :attr:`Context.error`,
and an evaluation with it answers the default with the reason ``USER_NOT_SPECIFIED``.

Source: ``evaluation.md`` 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr

from aioflags.model.nesting import MAX_DEPTH, SCALARS, is_too_deep
from aioflags.model.reference import AttributeReference
from aioflags.model.values import fresh, is_array, plain_text, same_json, type_name
from aioflags.runtime.logs import Once, logger

__all__ = ["BUILT_IN", "IGNORED", "LEGACY_ATTRIBUTES", "Context", "invalid_context"]

BUILT_IN: Final = frozenset({"kind", "key", "name", "anonymous"})
"""Names that are properties of a context and never custom attributes."""

IGNORED: Final = Once()
"""Which of the names that ``attributes`` may not set were logged already in this process."""

_NOT_CUSTOM: Final = BUILT_IN | {"_meta", ""}
_copied: Callable[[Any], dict[str, object]] = dict[str, object].copy
_IDENTITY: Final = frozenset({"kind", "key"})
_KIND: Final = re.compile(r"[A-Za-z0-9._-]+")
_USER: Final = "user"
_NONE: Final[Mapping[str, object]] = {}
_LEVELS: Final = MAX_DEPTH - 2
"""How deeply an attribute may nest. In a context of several kinds there are two levels around it."""
_TOO_DEEP: Final = "an attribute is nested too deeply"
LEGACY_ATTRIBUTES: Final = ("name", "firstName", "lastName", "email", "country", "avatar", "ip")
"""Attributes that a user without a kind has beside its custom ones."""


class _Identity(msgspec.Struct, frozen=True, eq=False, dict=True):
    key: str
    kind: str = _USER


# A Struct, because contexts are built once a request: it is constructed in C and is immutable at run time. What few
# contexts have (an error, members) stands in the instance's dictionary, over the None of the class.
class Context(_Identity, frozen=True, kw_only=True, eq=False, dict=True):
    """An evaluation context.

    ``Context("user-123")`` is a user; ``kind`` makes it something else. ``attributes`` are what rules may test: JSON
    values by name. Lists and objects in them are not copied, so do not change them afterwards. An attribute with the value
    ``None`` counts as missing. ``private`` names attributes (as references: ``email``, ``/address/city``) that no analytics
    event may carry.

    ``key`` and ``kind`` inside ``attributes`` are ignored, with one warning: request data cannot change the identity. ``name``
    and ``anonymous`` there set the property if its argument is absent (``None``, ``False``) and the type fits.
    """

    name: str | None = None
    anonymous: bool = False
    attributes: Mapping[str, object] = _NONE
    private: Sequence[str] = ()

    error: ClassVar[str | None] = None
    """Why the context cannot be used; ``None`` for a valid one."""
    members: ClassVar[Mapping[str, Context] | None] = None
    """The contexts of a multi-kind context by kind, in order of kind; ``None`` for a context of one kind."""

    def __post_init__(self) -> None:
        # The usual context passes this one test; _settle handles every other.
        attributes = self.attributes
        if (
            self.key.__class__ is str
            and self.key
            and self.kind is _USER
            and self.name is None
            and self.anonymous is False
            and self.private == ()
            and attributes.__class__ is dict
            and _NOT_CUSTOM.isdisjoint(attributes)
        ):
            if attributes:
                force_setattr(self, "attributes", _copied(attributes))
                for value in attributes.values():
                    if value.__class__ not in SCALARS and is_too_deep(value, _LEVELS):
                        _invalidate(self, _TOO_DEEP)
                        break
        elif (error := self._settle()) is not None:
            _invalidate(self, error)

    def _settle(self) -> str | None:
        """Bring every property into its final form. Returns why that is impossible, or ``None``."""
        kind = cast("Any", self.kind)
        force_setattr(self, "kind", "user" if kind is None else kind)
        private = cast("Any", self.private)
        if isinstance(private, str) or not isinstance(private, Iterable):
            return _type_error("private", private, "a list of strings")
        force_setattr(self, "private", tuple(cast("Iterable[object]", private)))
        if not all(isinstance(item, str) for item in self.private):
            return "private: expected a list of strings, and an item is not a string"
        if not isinstance(cast("object", self.attributes), Mapping):
            return _type_error("attributes", self.attributes, "a mapping of names to values")
        attributes = dict(self.attributes)
        self._take_properties(attributes)
        force_setattr(self, "attributes", attributes)
        error = (
            _kind_error(self.kind)
            or _key_error(self.key)
            or _name_error(self.name)
            or _anonymous_error(self.anonymous)
            or (_TOO_DEEP if any(is_too_deep(value, _LEVELS) for value in attributes.values()) else None)
        )
        if error is None:
            # Text that is computed from them, such as hashes, uses the characters, not what a subclass of str shows.
            force_setattr(self, "key", plain_text(self.key))
            force_setattr(self, "kind", plain_text(self.kind))
            force_setattr(self, "name", None if self.name is None else plain_text(self.name))
        return error

    def _take_properties(self, attributes: dict[str, object]) -> None:
        """Removes the names that are not custom attributes; ``name`` and ``anonymous`` replace an absent argument."""
        for name in _NOT_CUSTOM & attributes.keys():
            value = attributes.pop(name)
            if name in _IDENTITY:
                if IGNORED(name):
                    logger.warning("Context: %r inside attributes is ignored; pass %s=… instead", name, name)
            elif (name == "name" and self.name is None and isinstance(value, str)) or (
                name == "anonymous" and self.anonymous is False and isinstance(value, bool)
            ):
                force_setattr(self, name, value)

    # -- other ways to make one

    @staticmethod
    def multi(*contexts: Context) -> Context:
        """A context of several kinds. Those of several kinds among ``contexts`` give each of theirs; a single one is itself.

        Invalid without contexts, with two of one kind, or with an invalid one.
        """
        given: Sequence[object] = contexts
        if strangers := [type_name(context) for context in given if not isinstance(context, Context)]:
            return invalid_context(f"a context of several kinds consists of contexts, not of {strangers[0]}")
        singles = [single for context in contexts for single in (context.members or {"": context}).values()]
        if not singles:
            return invalid_context("a context of several kinds needs at least one")
        if errors := [single.error for single in singles if single.error is not None]:
            return invalid_context(", ".join(errors))
        members = {single.kind: single for single in sorted(singles, key=lambda single: single.kind)}
        if len(members) < len(singles):
            return invalid_context("a context of several kinds has each kind once")
        if len(singles) == 1:
            return singles[0]
        context = Context("-")
        force_setattr(context, "key", "")
        force_setattr(context, "kind", "multi")
        _note(context, "members", members)
        return context

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> Context:
        """The context that ``data`` describes, in LaunchDarkly's JSON form with a ``kind``; invalid if it describes none."""
        if not isinstance(cast("Any", data), Mapping):
            return invalid_context(f"a context is an object, not {type_name(data)}")
        if "kind" not in data:
            return invalid_context('a context has a "kind" (Context.from_legacy_user reads users without)')
        if data["kind"] != "multi":
            return _read_single(data)
        members: list[Context] = []
        for kind, inner in data.items():
            if kind == "kind":
                continue
            if not isinstance(inner, Mapping):
                return invalid_context(f"the {kind!r} part of a context of several kinds is an object, not {type_name(inner)}")
            members.append(_read_single({**cast("Mapping[str, object]", inner), "kind": kind}))
        return Context.multi(*members)

    @staticmethod
    def from_legacy_user(data: Mapping[str, object]) -> Context:
        """The user context that ``data`` describes, in the form that had no ``kind``.

        ``custom`` holds its attributes; ``privateAttributeNames`` are literal names. Alone here the key may be empty.
        """
        if not isinstance(cast("Any", data), Mapping):
            return invalid_context(f"a user is an object, not {type_name(data)}")
        key, anonymous = data.get("key"), data.get("anonymous")
        custom, private = data.get("custom"), data.get("privateAttributeNames")
        if not isinstance(key, str):
            return invalid_context("a user's key is a string")
        if wrong := [name for name in LEGACY_ATTRIBUTES if not isinstance(data.get(name), str | None)]:
            return invalid_context(f"a user's {wrong[0]} is a string")
        if not isinstance(anonymous, bool | None):
            return invalid_context("a user's anonymous is a boolean")
        if not isinstance(custom, Mapping | None):
            return invalid_context("a user's custom attributes are an object")
        if not _is_strings(private):
            return invalid_context("a user's private attribute names are an array of strings")
        attributes = {name: data.get(name) for name in LEGACY_ATTRIBUTES if name != "name"}
        attributes.update(cast("Mapping[str, object]", custom or {}))
        for name in _NOT_CUSTOM - {""}:
            attributes.pop(name, None)
        properties = {
            "name": data.get("name"),
            "anonymous": bool(anonymous),
            "attributes": {name: value for name, value in attributes.items() if value is not None},
            "private": [str(AttributeReference.literal(name)) for name in cast("Sequence[str]", private or ())],
        }
        return _restore(key, properties)

    # -- what it says of itself

    @property
    def is_valid(self) -> bool:
        """Whether flags can be evaluated for it."""
        return self.error is None

    @property
    def is_multi(self) -> bool:
        """Whether it is of several kinds."""
        return self.members is not None

    @property
    def canonical_key(self) -> str:
        """The key that tells it from every other context, whatever their kinds: ``org:a%3Ab:user:x``; a user's plain key."""
        if self.error is not None:
            return ""
        if self.members is None and self.kind == "user":
            return self.key
        return ":".join(f"{single.kind}:{single.key.replace('%', '%25').replace(':', '%3A')}" for single in self)

    def __iter__(self) -> Iterator[Context]:
        """Its contexts of one kind, in order of kind: itself, if it is of one; none, if it is invalid."""
        if self.error is not None:
            return iter(())
        return iter((self,) if self.members is None else self.members.values())

    def __len__(self) -> int:
        return 0 if self.error is not None else 1 if self.members is None else len(self.members)

    def __bool__(self) -> bool:
        return True  # although an invalid context has a length of 0

    def member(self, kind: str) -> Context | None:
        """The context of that kind in it, or ``None``."""
        if self.kind == kind:
            return None if self.members is not None else self
        return None if self.members is None else self.members.get(kind)

    def get(self, name: str) -> Any:
        """The property or attribute of that plain name, or ``None``. With several kinds only ``kind`` has an answer."""
        if name == "kind":
            return self.kind
        if self.members is not None:
            return None
        return getattr(self, name) if name in BUILT_IN else self.attributes.get(name)

    def resolve(self, reference: AttributeReference) -> Any:
        """What the reference names in this context of one kind, or ``None``. Arrays are not indexed."""
        if not reference.path or self.members is not None:
            return None
        found = self.get(reference.path[0])
        for name in reference.path[1:]:
            if not isinstance(found, Mapping):
                return None
            found = cast("Mapping[str, Any]", found).get(name)
        return found

    def replace(
        self,
        *,
        key: str | UnsetType = UNSET,
        kind: str | UnsetType = UNSET,
        name: str | UnsetType | None = UNSET,
        anonymous: bool | UnsetType = UNSET,
        attributes: Mapping[str, object] | UnsetType = UNSET,
        private: Sequence[str] | UnsetType = UNSET,
    ) -> Context:
        """A copy with these properties changed; ``name=None`` removes the name.

        ``attributes`` replaces all of them: ``context.replace(attributes={**context.attributes, "plan": "pro"})`` adds one.
        An invalid context stays invalid. For a multi-kind context the answer is invalid: replace one of its members, and pass
        all of them to :meth:`multi`.
        """
        if self.error is not None:
            return self
        if self.members is not None:
            return invalid_context(
                "replace: this context has several kinds; replace a member, and build the whole by Context.multi"
            )
        arguments = {"kind": kind, "name": name, "anonymous": anonymous, "attributes": attributes, "private": private}
        properties = {name: getattr(self, name) if value is UNSET else value for name, value in arguments.items()}
        return _restore(self.key, properties) if key is UNSET else Context(key, **cast("dict[str, Any]", properties))

    def without_anonymous(self) -> Context:
        """The same context without its anonymous parts; invalid if nothing is left."""
        return Context.multi(*(single for single in self if not single.anonymous))

    def to_dict(self) -> dict[str, Any]:
        """The context in LaunchDarkly's JSON form, in containers of its own; empty for an invalid one."""
        if self.error is not None:
            return {}
        if self.members is not None:
            return {"kind": "multi", **{kind: _properties(single) for kind, single in self.members.items()}}
        return {"kind": self.kind, **_properties(self)}

    def __eq__(self, other: object) -> bool:
        """Same kinds, keys, properties and attributes, and the same set of private references."""
        if not isinstance(other, Context):
            return NotImplemented
        if self.error is not None or other.error is not None:
            return self.error == other.error
        if self.members is not None or other.members is not None:
            return self.members == other.members
        return (
            (self.kind, self.key, self.name, self.anonymous) == (other.kind, other.key, other.name, other.anonymous)
            and same_json(_present(self.attributes), _present(other.attributes))
            and _references(self.private) == _references(other.private)
        )

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct has a comparison of its own, which knows identity alone

    def __hash__(self) -> int:
        return hash((self.kind, self.canonical_key))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.error is not None:
            return invalid_context, (self.error,)
        if self.members is not None:
            return Context.multi, tuple(self.members.values())
        return _restore, (self.key, {name: getattr(self, name) for name in self.__struct_fields__ if name != "key"})

    def __copy__(self) -> Context:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Context:
        return self

    def __repr__(self) -> str:
        """Kinds and keys alone: attributes may be nobody's business, and logs are read by many."""
        if self.error is not None:
            return f"Context(error={self.error!r})"
        if self.members is not None:
            return f"Context.multi({', '.join(map(repr, self.members.values()))})"
        return f"Context({self.key!r})" if self.kind == "user" else f"Context({self.key!r}, kind={self.kind!r})"


def _restore(key: str, properties: Mapping[str, Any]) -> Context:
    """A context of these properties, even with the empty key that a legacy user may have."""
    context = Context(key or "-", **properties)
    if not key and context.error is None:
        force_setattr(context, "key", "")
    return context


def invalid_context(error: str) -> Context:
    """A context that cannot be used, and why."""
    return _invalidate(Context("-"), error)


def _invalidate(context: Context, error: str) -> Context:
    nothing = {"key": "", "kind": "", "name": None, "anonymous": False, "attributes": _NONE, "private": ()}
    for name, value in nothing.items():
        force_setattr(context, name, value)
    _note(context, "error", error)
    return context


def _note(context: Context, name: str, value: object) -> None:
    """Sets on one context what most have from the class."""
    cast("dict[str, object]", context.__dict__)[name] = value


def _properties(single: Context) -> dict[str, Any]:
    found: dict[str, Any] = {"key": single.key}
    if single.name is not None:
        found["name"] = single.name
    if single.anonymous:
        found["anonymous"] = True
    found.update((name, fresh(value)) for name, value in single.attributes.items() if value is not None)
    if single.private:
        found["_meta"] = {"privateAttributes": list(single.private)}
    return found


def _type_error(name: str, value: object, wanted: str) -> str:
    return f"{name}: expected {wanted}, got {'None' if value is None else type(value).__name__}"


def _kind_error(kind: object) -> str | None:
    if not isinstance(kind, str):
        error = _type_error("kind", kind, "a string")
        return f"{error}; name the attributes: Context(key, attributes={{…}})" if isinstance(kind, Mapping) else error
    if kind in {"kind", "multi"}:
        return f"kind: {kind!r} is reserved"
    return None if _KIND.fullmatch(kind) else "kind: only the characters A-Z a-z 0-9 . _ - are allowed, and at least one of them"


def _key_error(key: object) -> str | None:
    if not isinstance(key, str):
        return _type_error("key", key, "a string")
    return None if key else "key: expected a string that is not empty"


def _name_error(name: object) -> str | None:
    return None if isinstance(name, str | None) else _type_error("name", name, "a string")


def _anonymous_error(anonymous: object) -> str | None:
    return None if isinstance(anonymous, bool) else _type_error("anonymous", anonymous, "a boolean")


def _read_single(data: Mapping[str, object]) -> Context:
    meta = data.get("_meta")
    if not isinstance(meta, Mapping | None):
        return invalid_context("_meta is an object")
    private = cast("Mapping[str, object]", meta or {}).get("privateAttributes")
    if not _is_strings(private):
        return invalid_context("private attributes are an array of strings")
    if "" in data:
        return invalid_context("an attribute has an empty name")
    for problem in (_kind_error(data.get("kind")), _key_error(data.get("key"))):
        if problem is not None:
            return invalid_context(problem)
    return Context(
        cast("str", data["key"]),
        cast("str", data["kind"]),
        name=cast("str | None", data.get("name")),
        anonymous=cast("bool", data.get("anonymous", False)),
        attributes={n: v for n, v in data.items() if n not in _NOT_CUSTOM and v is not None},
        private=cast("Sequence[str]", private or ()),
    )


def _is_strings(value: object) -> bool:
    return value is None or (is_array(value) and all(isinstance(item, str) for item in cast("Sequence[object]", value)))


def _present(attributes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if value is not None}


def _references(private: Sequence[str]) -> frozenset[AttributeReference]:
    return frozenset(AttributeReference.parse(text) for text in private)
