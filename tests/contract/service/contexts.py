"""Commands about contexts alone: built, converted, compared."""

from __future__ import annotations

from typing import Any

import msgspec

from aioflags import Context
from aioflags.model.reference import AttributeReference
from tests.contract.service.wire import Wire

__all__ = ["ContextBuild", "ContextComparison", "ContextConvert", "build", "compare", "convert"]


class SingleParams(Wire):
    key: str
    kind: str | None = None
    name: str | None = None
    anonymous: bool | None = None
    private: list[str] | None = None
    custom: dict[str, Any] | None = None


class ContextBuild(Wire):
    single: SingleParams | None = None
    multi: list[SingleParams] | None = None


class ContextConvert(Wire):
    input: str


class Attribute(Wire):
    name: str
    value: Any = None


class PrivateAttribute(Wire):
    value: str
    literal: bool | None = None


class ComparedSingle(Wire):
    key: str
    kind: str
    attributes: list[Attribute] | None = None
    private_attributes: list[PrivateAttribute] | None = None


class Compared(Wire):
    single: ComparedSingle | None = None
    multi: list[ComparedSingle] | None = None


class ContextComparison(Wire):
    context1: Compared
    context2: Compared


def build(wanted: ContextBuild) -> dict[str, str]:
    """The context that a program would build, as JSON text, or why it is none."""
    if wanted.single is not None:
        return _told(_single(wanted.single))
    return _told(Context.multi(*(_single(single) for single in wanted.multi or ())))


def convert(wanted: ContextConvert) -> dict[str, str]:
    """The context that a JSON text describes, as JSON text, or why it describes none."""
    try:
        data = msgspec.json.decode(wanted.input)
    except msgspec.DecodeError as error:
        return {"error": str(error)}
    is_of_old = isinstance(data, dict) and "kind" not in data
    return _told(Context.from_legacy_user(data) if is_of_old else Context.from_dict(data))


def compare(wanted: ContextComparison) -> dict[str, bool]:
    """Whether two contexts are equal."""
    return {"equals": _compared(wanted.context1) == _compared(wanted.context2)}


def _single(wanted: SingleParams) -> Context:
    return Context(
        wanted.key,
        "user" if wanted.kind is None else wanted.kind,
        name=wanted.name,
        anonymous=bool(wanted.anonymous),
        attributes=wanted.custom or {},
        private=wanted.private or (),
    )


def _compared(wanted: Compared) -> Context:
    if wanted.single is not None:
        return _compared_single(wanted.single)
    return Context.multi(*(_compared_single(single) for single in wanted.multi or ()))


def _compared_single(wanted: ComparedSingle) -> Context:
    return Context(
        wanted.key,
        wanted.kind,
        attributes={attribute.name: attribute.value for attribute in wanted.attributes or ()},
        private=[
            str(AttributeReference.literal(private.value)) if private.literal else private.value
            for private in wanted.private_attributes or ()
        ],
    )


def _told(context: Context) -> dict[str, str]:
    if context.error is not None:
        return {"error": context.error}
    return {"output": msgspec.json.encode(context.to_dict()).decode()}
