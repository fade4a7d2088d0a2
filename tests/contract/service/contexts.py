"""The commands that build, convert and compare contexts."""

from __future__ import annotations

from typing import Any

import msgspec

from aioflags import Context
from aioflags.model.attributes import AttributeReference
from tests.contract.service.service_params import Params


class ContextBuildSingleParams(Params):
    key: str
    kind: str | None = None
    name: str | None = None
    anonymous: bool | None = None
    private: list[str] | None = None
    custom: dict[str, Any] | None = None


class ContextBuildParams(Params):
    single: ContextBuildSingleParams | None = None
    multi: list[ContextBuildSingleParams] | None = None


class ContextConvertParams(Params):
    input: str


class Attribute(Params):
    name: str
    value: Any = None


class PrivateAttribute(Params):
    value: str
    literal: bool | None = None


class ContextComparisonSingleParams(Params):
    key: str
    kind: str
    attributes: list[Attribute] | None = None
    private_attributes: list[PrivateAttribute] | None = None


class ContextComparisonParams(Params):
    single: ContextComparisonSingleParams | None = None
    multi: list[ContextComparisonSingleParams] | None = None


class ContextComparisonPairParams(Params):
    context1: ContextComparisonParams
    context2: ContextComparisonParams


def build(params: ContextBuildParams) -> dict[str, str]:
    """The context that a program would build, as JSON text; or the reason why it is invalid."""
    if params.single is not None:
        return _encoded(_single(params.single))
    return _encoded(Context.multi(*(_single(single) for single in params.multi or ())))


def convert(params: ContextConvertParams) -> dict[str, str]:
    """The context in a JSON text, as JSON text; or the reason why it is invalid."""
    try:
        data = msgspec.json.decode(params.input)
    except msgspec.DecodeError as error:
        return {"error": str(error)}
    is_of_old = isinstance(data, dict) and "kind" not in data
    return _encoded(Context.from_legacy_user(data) if is_of_old else Context.from_dict(data))


def compare(params: ContextComparisonPairParams) -> dict[str, bool]:
    """Whether two contexts are equal."""
    return {"equals": _compared(params.context1) == _compared(params.context2)}


def _single(params: ContextBuildSingleParams) -> Context:
    return Context(
        params.key,
        "user" if params.kind is None else params.kind,
        name=params.name,
        anonymous=bool(params.anonymous),
        attributes=params.custom or {},
        private=params.private or (),
    )


def _compared(params: ContextComparisonParams) -> Context:
    if params.single is not None:
        return _compared_single(params.single)
    return Context.multi(*(_compared_single(single) for single in params.multi or ()))


def _compared_single(params: ContextComparisonSingleParams) -> Context:
    return Context(
        params.key,
        params.kind,
        attributes={attribute.name: attribute.value for attribute in params.attributes or ()},
        private=[
            str(AttributeReference.literal(private.value)) if private.literal else private.value
            for private in params.private_attributes or ()
        ],
    )


def _encoded(context: Context) -> dict[str, str]:
    if context.error is not None:
        return {"error": context.error}
    return {"output": msgspec.json.encode(context.to_dict()).decode()}
