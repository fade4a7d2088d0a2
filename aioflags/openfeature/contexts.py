"""Between OpenFeature's SDK and a client: contexts on the way in, results on the way out.

From OpenFeature's evaluation context to the context of a client.

OpenFeature has one targeting key and attributes. For LaunchDarkly the targeting key is the key of a context of one kind, ``user``
unless the attribute ``kind`` names another; with the kind ``multi`` every other attribute that is an object is a member. For flagd
there are no kinds, and every name is an attribute.

Source: ``openfeature.md`` 6.3.
"""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason

from aioflags.evaluation.openfeature import (
    ERROR_MESSAGES,
    IDENTITY,
    NO_KEY,
    TARGETING_KEY,
    context_with_kinds,
    error_of,
    reason_of,
)
from aioflags.model.attributes import ALWAYS_JSON, json_attributes
from aioflags.model.context import Context, invalid_context
from aioflags.model.context_json import NOT_CUSTOM, is_absent
from aioflags.model.detail import ErrorKind, EvaluationDetail, FlagEvaluation
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import Status
from aioflags.model.values import SCALARS
from aioflags.runtime.logs import class_name, printable

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.mobile.environment import MobileEnvironment
    from aioflags.supervisor.next_snapshot import SnapshotHolder


# -- What the provider must know of the version of OpenFeature's SDK that calls it. The only module that looks.
# Source: ``openfeature.md`` 6.2.


ReadStatus = Callable[[], Status | None]
"""Returns the status that the SDK shows for a provider; ``None`` if it cannot be read. From any thread."""

LIFECYCLE_MARKER: Final = "emits_lifecycle_events"
"""The attribute by which a provider tells the SDK that it reports its life cycle by events. No SDK for Python has one yet."""


def has_lifecycle_marker(sdk_provider: type) -> bool:
    """Whether the SDK's base class of providers has the marker."""
    return hasattr(sdk_provider, LIFECYCLE_MARKER)


def status_reader(on_emit: object, provider: object) -> ReadStatus:
    """Reads the status of ``provider`` from the object whose method ``on_emit`` is: in SDK 0.10 the registry of providers."""
    read: Any = getattr(getattr(on_emit, "__self__", None), "get_provider_status", None)

    def status() -> Status | None:
        return None if read is None else _STATUSES.get(getattr(read(provider), "name", ""))

    return status


_STATUSES: Final = {status.name: status for status in Status}


# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false
ConvertContext: TypeAlias = "Callable[[EvaluationContext | None], Context]"

_ARE_CUSTOM: Final = (IDENTITY | NOT_CUSTOM).isdisjoint
_NO_CONTEXT: Final = object()
_NEVER: Final = object()
_AMBIGUOUS: Final = frozenset({0, 1})
"""Values that equal a boolean, which is another value. Booleans and small integers are the same objects everywhere."""


def converter(*, has_kinds: bool) -> ConvertContext:
    """A function that converts contexts for one client, and never raises. It remembers the last one whose attributes are scalars.

    OpenFeature makes a new evaluation context for each evaluation, but programs often evaluate several flags for one user. If key
    and attributes are equal, the client gets the same object again: that is faster, and evaluations of the same object are counted
    without a lock.
    """
    remembered: _Remembered = _NO_CONTEXT, {}, (), NO_KEY

    def convert(key: Any, attributes: Mapping[str, Any]) -> Context:
        try:
            return context_with_kinds(key, attributes) if has_kinds else _without_kinds(key, attributes)
        except Exception as error:  # noqa: BLE001 - an object of the program may raise anything when it is read
            return invalid_context(f"reading it raised {class_name(error)}")

    def converted(given: EvaluationContext | None) -> Context:
        nonlocal remembered
        if given is None:
            return convert(None, {})
        key: object = given.targeting_key
        attributes: Mapping[str, Any] = given.attributes
        last_key, last_attributes, ambiguous, context = remembered
        try:
            if key == last_key and attributes == last_attributes:
                if ambiguous is None:
                    ambiguous = _ambiguous(last_attributes)
                    remembered = last_key, last_attributes, ambiguous, context
                for name, value in ambiguous:
                    if attributes[name] is not value:
                        break
                else:
                    return context
            if type(key) is str and key and type(given.attributes) is dict and (not has_kinds or _ARE_CUSTOM(attributes)):
                for value in attributes.values():
                    # As in Context.__post_init__.
                    if type(value) is not str and type(value) not in ALWAYS_JSON and (type(value) is not float or value - value):
                        break
                else:
                    context = unchecked_context(key, attributes)
                    remembered = key, context.attributes, None, context
                    return context
        except Exception:  # noqa: BLE001, S110 - an attribute that cannot be compared
            pass
        return convert(key, attributes)

    return converted


_Remembered: TypeAlias = tuple[object, Mapping[str, object], tuple[tuple[str, object], ...] | None, Context]
"""Key and attributes of the last context; the attributes to compare by identity, if they were looked for; the context."""


def _ambiguous(attributes: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    """The scalar attributes that equal a value of another type. An attribute that can change is one that is never the same."""
    return tuple(
        (name, value if value.__class__ in SCALARS else _NEVER)
        for name, value in attributes.items()
        if value.__class__ not in SCALARS or value in _AMBIGUOUS
    )


def unchecked_context(key: object, attributes: Mapping[str, object]) -> Context:
    """A user with a copy of ``attributes`` as they are, in less than half of the time of the constructor, which checks them.

    Flags of LaunchDarkly need names of custom attributes and values that do not nest too deeply; the caller has checked that. Flags
    of flagd take any name, and no key.
    """
    if type(key) is str and key:
        context = _copy_of(_ANY_USER)
        force_setattr(context, "key", key)
    else:
        context = Context(cast("str", key))
    force_setattr(context, "attributes", {**attributes})
    return context


_ANY_USER: Final = Context("-")
_copy_of: Final[Callable[[Context], Context]] = cast("Any", msgspec.Struct).__copy__
"""Copies the fields. ``Context.__copy__`` returns the context itself."""


def _without_kinds(key: str | None, attributes: Mapping[str, Any]) -> Context:
    """The context for flagd's flags, with or without a targeting key."""
    usable = json_attributes(attributes)
    return unchecked_context(usable.get(TARGETING_KEY) if is_absent(key) else key, usable)


# -- OneContext: a client for a mobile key, which has the flags of one context, behind OpenFeature's calls for any context.
#
# A call for another context than the client's is refused: the flags of one user must not decide for another. A call
# without a targeting key is for the context of the client. Attributes of a call do not count: the service evaluated the flags
# with the attributes of the client's context.
#
# Source: ``openfeature.md`` 6.3.


# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false
class OtherContextError(Exception):
    """A call is for another context than the client's. The message says so in words, without the keys."""


class _Pinned(NamedTuple):
    """What one call is for: the data, and the context that they were evaluated for."""

    snapshot: Snapshot
    context: Context


class OneContext:
    """The calls of a provider for ``client``, from any thread.

    Each call reads the data of the client once: it is checked against the context of the flags that it gets.
    """

    def __init__(self, client: MobileEnvironment) -> None:
        self._client = client
        self._holder, self._evaluator = client._core.holder, client._core.evaluator
        self._convert = converter(has_kinds=True)
        self._accepted: tuple[Snapshot, Context, _Pinned] | None = None
        """The last data, the context of a call that they answer, and what the call is for."""

    def pinned(self, given: EvaluationContext | None) -> _Pinned:
        """The data of the client, and their context.

        Raises:
            OtherContextError: ``given`` is not the context of the flags, or cannot be used.
        """
        return self._checked(given)[2]

    def _checked(self, given: EvaluationContext | None) -> tuple[Snapshot, Context, _Pinned]:
        snapshot = self._holder.snapshot
        asked, accepted = self._convert(given), self._accepted
        if accepted is not None and accepted[0] is snapshot and accepted[1] is asked:
            return accepted
        active = snapshot.evaluated_for or self._client.context
        if asked is not NO_KEY:
            if asked.error is not None:
                raise OtherContextError(asked.error)
            if not _keys(asked).items() <= _keys(active).items():
                raise OtherContextError("the client has the flags of another context; await its identify() first")
        self._accepted = accepted = snapshot, asked, _Pinned(snapshot, active)
        return accepted

    def detail(
        self,
        holder: SnapshotHolder,  # noqa: ARG002 - the clients with many contexts read it
        key: str,
        pinned: _Pinned,
        default: Any,
        expected: type,
    ) -> EvaluationDetail[Any]:
        """The value of a flag with its reason, from the data of ``pinned``: by now ``holder`` may have those of another context."""
        detail: EvaluationDetail[Any] = self._evaluator.typed_detail(pinned, key, pinned.context, default, expected)
        return detail

    async def detail_awaited(self, key: str, pinned: _Pinned, default: Any, expected: type) -> EvaluationDetail[Any]:
        """:meth:`detail`, which never waits."""
        return self.detail(self._holder, key, pinned, default, expected)

    def track(self, name: str, given: EvaluationContext | None, data: object, value: float | None) -> None:
        """Records an event of the client's context.

        Raises:
            OtherContextError: as for :meth:`pinned`.
        """
        active = self._checked(given)[0].evaluated_for
        if active is None:
            self._client.track(name, data, value)  # which keeps it until the first context is active
        else:
            self._client._core.record_tracked(name, active, data, value)


def _keys(context: Context) -> Mapping[str, str]:
    """The keys of a context by kind."""
    if context.members is None:
        return {context.kind: context.key}
    return {kind: member.key for kind, member in context.members.items()}


# -- From the result of an evaluation to the result of OpenFeature's SDK.
# Source: ``openfeature.md`` 6.3 and 6.4.


_REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}


class Answered(NamedTuple):
    """What a result that is not an error has besides its value. Results of the same answer share it."""

    detail: EvaluationDetail[Any]
    reason: str | Reason
    variant: str | None
    metadata: dict[str, bool | int | float | str]


def answered(detail: EvaluationDetail[Any], flag: object, set_id: str | None) -> Answered:
    """The parts of a result that is not an error.

    Args:
        detail: the result of the client.
        flag: the definition of the flag, if the client has it.
        set_id: the id of the flag set, if the client knows it.
    """
    definition = flag if isinstance(flag, FlagDefinition) else None
    reason, metadata = reason_of(detail, definition), _metadata_of_set(set_id)
    if definition is not None:
        metadata["version"] = definition.version
    elif isinstance(flag, FlagEvaluation):
        metadata["version"] = flag.version if flag.flag_version is None else flag.flag_version
    metadata.update(detail.metadata)
    variant = detail.variant
    if variant is None and detail.variation_index is not None and not detail.is_null:
        variant = str(detail.variation_index)
    return Answered(detail, _REASONS.get(reason, reason), variant, metadata)


def failed(
    key: str, detail: EvaluationDetail[Any], default: Any, context: Context, *, is_fatal: bool, set_id: str | None
) -> FlagResolutionDetails[Any]:
    """The result of an evaluation that failed: the caller's default, a code and a message.

    ``is_fatal``: the client has no flag data and cannot get any.
    """
    kind, message = detail.reason.error_kind, detail.error_message
    code = ErrorCode(error_of(kind, context).value)
    if code is ErrorCode.PROVIDER_NOT_READY and is_fatal:
        code = ErrorCode.PROVIDER_FATAL
    elif kind is ErrorKind.USER_NOT_SPECIFIED and code is ErrorCode.INVALID_CONTEXT:
        message = context.error
    return error_result(key, default, code, message, {**_metadata_of_set(set_id), **detail.metadata})


def error_result(
    key: str,
    default: Any,
    code: ErrorCode,
    message: str | None = None,
    metadata: dict[str, bool | int | float | str] | None = None,
) -> FlagResolutionDetails[Any]:
    """The caller's default with an error. The message names the flag."""
    text = f"flag {printable(key)}: {message or ERROR_MESSAGES[ErrorKind(code.value)]}"
    return FlagResolutionDetails(default, code, text, Reason.ERROR, None, {} if metadata is None else metadata)


def _metadata_of_set(set_id: str | None) -> dict[str, bool | int | float | str]:
    """The metadata that every result has."""
    return {} if set_id is None else {"flagSetId": set_id}
