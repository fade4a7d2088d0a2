"""Context: the user, device or organization that a flag is evaluated for, of one kind or of several.

Making a context never raises, because contexts are made of request data. An invalid context has an :attr:`Context.error`, and its
evaluations return the default with the reason ``USER_NOT_SPECIFIED``.

Source: ``evaluation.md`` 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, ParamSpec, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr

from aioflags.model.attributes import ALWAYS_JSON, AttributeReference, is_json, json_attributes, json_or_same
from aioflags.model.context_json import (
    BUILT_IN,
    NOT_CUSTOM,
    Arguments,
    anonymous_error,
    is_absent,
    key_error,
    kind_error,
    name_error,
    properties_of,
    read_context,
    read_references,
    read_user,
    take_properties,
    type_error,
)
from aioflags.model.values import same_json, type_name
from aioflags.runtime.logs import class_name
from aioflags.runtime.value_classes import PydanticSerializer, pydantic_schema

P = ParamSpec("P")

_copied: Callable[[Any], dict[str, object]] = dict[str, object].copy
# Kept as a method, because CPython 3.11 calls a method of an imported name as an attribute of a module, which takes 30 ns longer.
_are_custom: Callable[[Any], bool] = NOT_CUSTOM.isdisjoint
_NO_PRIVATE: Final[Sequence[str]] = ()
_USER: Final = "user"
_NO_ATTRIBUTES: Final[Mapping[str, object]] = {}


class _Identity(msgspec.Struct, frozen=True, eq=False, dict=True):
    key: str
    kind: str = _USER


# A Struct, because programs make a context for each request: C code constructs it, and it is immutable at run time. The dictionary
# of the instance has what few contexts have (error, members). It hides the None of the class.
class Context(_Identity, frozen=True, kw_only=True, eq=False, dict=True):
    """An evaluation context.

    ``Context("user-123")`` is a user. ``kind`` makes it something else. ``attributes`` maps names to JSON values, which rules test.
    Lists and objects in them are not copied, so do not change them afterwards. An attribute with the value ``None`` counts as
    missing. ``private`` lists attributes, as references (``email``, ``/address/city``), that analytics events must not contain.

    Some values that JSON lacks are converted: ``datetime``, ``date``, ``UUID``, ``Path``, ``Enum``, ``Decimal``, tuples, scalars of
    numpy. Others are left out, with one warning that names the attribute and the type.

    ``key`` and ``kind`` inside ``attributes`` are ignored, with one warning, so that request data cannot change the identity.
    ``name`` and ``anonymous`` inside ``attributes`` set the property if its argument is absent (``None``, ``False``) and the type
    is right.
    """

    name: str | None = None
    anonymous: bool = False
    attributes: Mapping[str, object] = _NO_ATTRIBUTES
    private: Sequence[str] = _NO_PRIVATE

    error: ClassVar[str | None] = None
    """Why the context is invalid. ``None`` for a valid context."""
    members: ClassVar[Mapping[str, Context] | None] = None
    """The members of a multi-kind context by kind, sorted by kind. ``None`` for a context of one kind."""
    is_keyless: ClassVar[bool] = False
    """The key is absent, and nothing else is wrong. LaunchDarkly's flags cannot be evaluated for such a context, flagd's can."""
    other_key: ClassVar[object] = None
    """A key that is not text, such as a number, if nothing else is wrong. flagd's rules read it; LaunchDarkly's flags cannot be
    evaluated for such a context."""
    unkeyed: ClassVar[tuple[Context, ...] | None] = None
    """The members of an invalid multi-kind context of which nothing is wrong but absent keys. A client-side client generates those
    of anonymous members."""
    derived: ClassVar[tuple[object, Any] | None] = None
    """What the last evaluation made of the context, after the object that it is valid for. Evaluations of the next flags use it."""

    def __post_init__(self) -> None:
        # Fast path for the usual context: a user without name, with plain attributes. _settle handles all others.
        attributes = self.attributes
        try:
            if (
                type(self.key) is str  # not `__class__`, which says the same of lazy text
                and self.key
                and self.kind is _USER
                and self.name is None
                and self.anonymous is False
                and self.private is _NO_PRIVATE
                and type(attributes) is dict
                and _are_custom(attributes)
            ):
                if attributes:
                    copied = _copied(attributes)
                    force_setattr(self, "attributes", copied)
                    for value in copied.values():
                        # Most values are strings, for which a comparison of classes is faster than the lookup.
                        if (
                            type(value) is not str
                            and type(value) not in ALWAYS_JSON
                            and (type(value) is not float or value - value)  # not zero, if the number is not finite
                            and not is_json(value)
                        ):
                            force_setattr(self, "attributes", json_attributes(copied))
                            break
            elif (error := self._settle()) is not None:
                _invalidate(self, error)
        except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
            _invalidate(self, f"reading its properties raised {class_name(error)}")

    def keep(self, made_for: object, derived: Any) -> None:
        """Set :attr:`derived`. The next call replaces it, also one in another thread."""
        _set_on_instance(self, "derived", (made_for, derived))

    def _settle(self) -> str | None:
        """Convert every property to its final form. Returns the error of an invalid context, or ``None``."""
        kind = cast("Any", self.kind)
        force_setattr(self, "kind", "user" if kind is None else kind)
        for name in ("key", "kind", "name", "anonymous"):
            # Hashes and other derived text must use the characters, not the str() of a subclass such as an enum.
            force_setattr(self, name, json_or_same(getattr(self, name)))
        private = read_references(self.private)
        if isinstance(private, str):
            return private
        force_setattr(self, "private", private)
        if not isinstance(cast("object", self.attributes), Mapping):
            return type_error("attributes", self.attributes, "a mapping of names to values")
        attributes = json_attributes(self.attributes)
        called, anonymous = take_properties(attributes, self.name, anonymous=self.anonymous)
        force_setattr(self, "name", called)
        force_setattr(self, "anonymous", anonymous)
        force_setattr(self, "attributes", attributes)
        kind_problem, key_problem = kind_error(self.kind), key_error(self.key)
        problem = name_error(self.name) or anonymous_error(self.anonymous)
        error = kind_problem or key_problem or problem
        if error is not None and error is key_problem and problem is None:
            if is_absent(self.key):
                _set_on_instance(self, "is_keyless", value=True)
            elif is_json(self.key):
                _set_on_instance(self, "other_key", self.key)
            else:
                return error
            force_setattr(self, "key", "")
            _set_on_instance(self, "error", error)
            error = None
        return error

    # -- alternative constructors

    @staticmethod
    def keyless(attributes: Mapping[str, object] = _NO_ATTRIBUTES) -> Context:
        """A context without a key, which only flags of flagd can be evaluated for. ``Context(None, …)`` is the same."""
        return Context(cast("Any", None), attributes=attributes)

    @staticmethod
    def multi(*contexts: Context) -> Context:
        """A multi-kind context. Multi-kind arguments contribute each of their members; a single context is returned as it is.

        The result is invalid without arguments, with two contexts of one kind, or with an invalid context.
        """
        return _safely(_multi, contexts)

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> Context:
        """Read a context in LaunchDarkly's JSON format with ``kind``. The result is invalid if ``data`` is not a context."""
        return _safely(_from_dict, data)

    @staticmethod
    def from_legacy_user(data: Mapping[str, object]) -> Context:
        """Read a user in LaunchDarkly's old JSON format without ``kind``. The result is invalid if ``data`` is not a user.

        ``custom`` has its other attributes; ``privateAttributeNames`` are literal names. Only such a user may have an empty key.
        """
        return _safely(lambda: _restore(read_user(data)))

    # -- properties and attributes

    @property
    def is_valid(self) -> bool:
        """Whether flags can be evaluated for the context."""
        return self.error is None

    @property
    def is_valid_for_flagd(self) -> bool:
        """Whether flags of flagd can be evaluated for the context. They need no key, and take one that is not text."""
        return self.error is None or self.is_keyless or self.other_key is not None

    @property
    def is_multi(self) -> bool:
        """Whether the context has several kinds."""
        return self.members is not None

    @property
    def canonical_key(self) -> str:
        """A string that identifies the context among all kinds, such as ``org:a%3Ab:user:x``. For a user it is the plain key.

        A user whose key looks like that shares it: the user ``org:a`` has the canonical key of the org ``a``.
        """
        if self.error is not None:
            return ""
        if self.members is None and self.kind == "user":
            return self.key
        return ":".join(f"{single.kind}:{single.key.replace('%', '%25').replace(':', '%3A')}" for single in self)

    @property
    def fully_qualified_key(self) -> str:
        """The :attr:`canonical_key` under its name in LaunchDarkly's SDK."""
        return self.canonical_key

    def __iter__(self) -> Iterator[Context]:
        """Iterate over the members sorted by kind. A single-kind context yields itself, an invalid one yields nothing."""
        if self.error is not None:
            return iter(())
        return iter((self,) if self.members is None else self.members.values())

    def __len__(self) -> int:
        return 0 if self.error is not None else 1 if self.members is None else len(self.members)

    def __bool__(self) -> bool:
        return True  # an invalid context has the length 0

    def member(self, kind: str) -> Context | None:
        """The member of this kind, or ``None``. A single-kind context is its only member."""
        if self.kind == kind:
            return None if self.members is not None else self
        return None if self.members is None else self.members.get(kind)

    def get(self, name: str) -> Any:
        """The property or attribute with this plain name, or ``None``. A multi-kind context has only ``kind``."""
        if name == "kind":
            return self.kind
        if self.members is not None:
            return None
        return getattr(self, name) if name in BUILT_IN else self.attributes.get(name)

    def resolve(self, reference: AttributeReference) -> Any:
        """The value that the reference leads to in a single-kind context, or ``None``. References do not index arrays."""
        if not reference.path or self.members is not None:
            return None
        value = self.get(reference.path[0])
        for name in reference.path[1:]:
            if not isinstance(value, Mapping):
                return None
            value = cast("Mapping[str, Any]", value).get(name)
        return value

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

        ``name`` and ``anonymous`` inside ``attributes`` are ignored if their argument is given, also as ``None`` or ``False``.
        ``attributes`` replaces all attributes. To add one: ``context.replace(attributes={**context.attributes, "plan": "pro"})``.
        A copy of an invalid context is invalid, also if flagd accepts it. So is a copy of a multi-kind context: replace one of its
        members, and pass all members to :meth:`multi`.
        """
        if not self.is_valid_for_flagd:
            return self
        if self.members is not None:
            return invalid_context("replace: not for a multi-kind context; replace a member, then use Context.multi")
        arguments = {"kind": kind, "name": name, "anonymous": anonymous, "attributes": attributes, "private": private}
        return _safely(_replaced, self, {name: value for name, value in arguments.items() if value is not UNSET}, key)

    def without_anonymous(self) -> Context:
        """The context without its anonymous members. It is invalid if no member is left."""
        return Context.multi(*(single for single in self if not single.anonymous))

    def to_dict(self) -> dict[str, Any]:
        """The context in LaunchDarkly's JSON format, as a deep copy. Empty for an invalid context."""
        if self.error is not None:
            return {}
        if self.members is not None:
            return {"kind": "multi", **{kind: properties_of(single) for kind, single in self.members.items()}}
        return {"kind": self.kind, **properties_of(self)}

    def __eq__(self, other: object) -> bool:
        """Whether kinds, keys, properties, attributes and the set of private references are equal. Invalid ones: the errors."""
        if not isinstance(other, Context):
            return NotImplemented
        if self.members is not None or other.members is not None:
            return self.members == other.members
        if self.error is None and (
            (self.kind, self.key) != (other.kind, other.key) or _references(self.private) != _references(other.private)
        ):
            return False
        return (self.error, self.name, self.anonymous) == (other.error, other.name, other.anonymous) and same_json(
            [_present(self.attributes), self.other_key], [_present(other.attributes), other.other_key]
        )

    def __ne__(self, other: object) -> bool:
        return not self == other  # the method of Struct compares by identity

    def __hash__(self) -> int:
        return hash((self.kind, self.canonical_key) if self.error is None else self.error)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.unkeyed is not None:
            return Context.multi, self.unkeyed
        if not self.is_valid_for_flagd:
            return invalid_context, (self.error,)
        if self.members is not None:
            return Context.multi, tuple(self.members.values())
        arguments = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.other_key is not None:
            return _restore, ({**arguments, "key": self.other_key},)
        return (_restore, (arguments,)) if self.error is None else (_rebuilt, (arguments, self.error))

    def __copy__(self) -> Context:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Context:
        return self

    __pydantic_serializer__: ClassVar[PydanticSerializer] = PydanticSerializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return pydantic_schema(cls, handler(dict[str, Any]), read=_read_valid, write=cls.to_dict)

    def __repr__(self) -> str:
        """Only kinds and keys, because attributes may be confidential and reprs appear in logs."""
        if self.error is not None:
            return f"Context(error={self.error!r})"
        if self.members is not None:
            return f"Context.multi({', '.join(map(repr, self.members.values()))})"
        return f"Context({self.key!r})" if self.kind == "user" else f"Context({self.key!r}, kind={self.kind!r})"


def _safely(make: Callable[P, Context], *args: P.args, **kwargs: P.kwargs) -> Context:
    """The context that ``make`` returns. It is invalid if reading the arguments raises: they are objects of the program."""
    try:
        return make(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
        return invalid_context(f"reading it raised {class_name(error)}")


def _multi(contexts: Sequence[object]) -> Context:
    singles: list[Context] = []
    for context in contexts:
        if not isinstance(context, Context):
            return invalid_context(f"multi-kind context: expected contexts, got {type_name(context)}")
        singles += context.unkeyed or (context.members or {"": context}).values()
    if not singles:
        return invalid_context("multi-kind context: expected at least one context")
    if errors := [single.error for single in singles if single.error is not None]:
        invalid = invalid_context(", ".join(errors))
        if all(single.error is None or single.is_keyless for single in singles):
            _set_on_instance(invalid, "unkeyed", tuple(singles))
        return invalid
    members = {single.kind: single for single in sorted(singles, key=lambda single: single.kind)}
    if len(members) < len(singles):
        return invalid_context("multi-kind context: expected each kind once")
    if len(singles) == 1:
        return singles[0]
    several = Context("-")
    force_setattr(several, "key", "")
    force_setattr(several, "kind", "multi")
    _set_on_instance(several, "members", members)
    return several


def _from_dict(data: object) -> Context:
    read = read_context(data)
    return Context.multi(*map(_restore, read)) if isinstance(read, list) else _restore(read)


def _replaced(context: Context, changes: dict[str, Any], key: str | UnsetType) -> Context:
    """A copy of a context of one kind with these properties changed."""
    given, attributes = {"name", "anonymous"} & changes.keys(), changes.get("attributes")
    if given and isinstance(attributes, Mapping):
        attributes = cast("Mapping[str, object]", attributes)
        changes["attributes"] = {name: value for name, value in attributes.items() if name not in given}
    properties = {name: getattr(context, name) for name in ("kind", "name", "anonymous", "attributes", "private")} | changes
    if key is UNSET and context.error is None:
        return _restore({"key": context.key, **properties})
    return Context(cast("str", context.other_key) if key is UNSET else key, **properties)


def _restore(arguments: Arguments | str) -> Context:
    """A context with these arguments, or an invalid one with this error. Allows the empty key of a legacy user."""
    if isinstance(arguments, str):
        return invalid_context(arguments)
    if arguments["key"] != "":
        return Context(**arguments)
    placeholder: Arguments = {**arguments, "key": "-"}
    context = Context(**placeholder)
    if context.error is None:
        force_setattr(context, "key", "")
    return context


def _read_valid(data: dict[str, Any]) -> Context:
    """The context of JSON data. Raises ``ValueError`` if it is invalid."""
    context = Context.from_dict(data)
    if context.error is not None:
        raise ValueError(context.error)
    return context


def _rebuilt(arguments: Arguments, error: str) -> Context:
    """A keyless context with these arguments and this error."""
    context = Context(**arguments)
    _set_on_instance(context, "error", error)
    return context


def invalid_context(error: str) -> Context:
    """A context that is invalid because of ``error``."""
    return _invalidate(Context("-"), error)


def _invalidate(context: Context, error: str) -> Context:
    empty = {"key": "", "kind": "", "name": None, "anonymous": False, "attributes": _NO_ATTRIBUTES, "private": ()}
    for name, value in empty.items():
        force_setattr(context, name, value)
    _set_on_instance(context, "error", error)
    return context


def _set_on_instance(context: Context, name: str, value: object) -> None:
    """Set what most contexts have from the class."""
    cast("dict[str, object]", context.__dict__)[name] = value


def _present(attributes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if value is not None}


def _references(private: Sequence[str]) -> frozenset[AttributeReference]:
    return frozenset(AttributeReference.parse(text) for text in private)
