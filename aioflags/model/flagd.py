"""Flags in flagd's format, as they are loaded, and the types of flagd's options.

Source: ``flagd.md`` 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, final

import msgspec

from aioflags.model.detail import NO_METADATA, FlagMetadata

REFERENCE: Final = re.compile(rb'\{\s*"\$ref"\s*:\s*"([^"\\]*)"\s*\}')
"""A reference to a shared evaluator in the text of a rule. One whose name is written with escapes is not found."""


@final
class Evaluators:
    """The shared evaluators of one document: targeting rules by name, which the rules of its flags refer to.

    All flags of a document have the same object, so that each evaluator is compiled once. Two objects are equal only if they are
    the same object.
    """

    __slots__ = ("__weakref__", "lengths", "nested", "rules")

    def __init__(self, rules: Mapping[str, Any], lengths: Mapping[str, int], nested: Mapping[str, str] | None = None) -> None:
        """``lengths``: about how many characters the JSON of each rule has. ``nested``: which of them refer to which other name."""
        self.rules: Mapping[str, Any] = rules
        self.lengths: Mapping[str, int] = lengths
        self.nested: Mapping[str, str] = {} if nested is None else nested


NO_EVALUATORS: Final = Evaluators({}, {})


class FlagdFlag(msgspec.Struct, frozen=True, gc=False, kw_only=True, eq=False):
    """A flag in flagd's format. It never changes, and neither do its values.

    Args:
        key: the key of the flag.
        is_enabled: its state is ``ENABLED``.
        variants: the values by the names of the variants.
        default_variant: the name of the default variant; ``None``: callers get their own default.
        targeting: the rule, as JSON text: most rules of a large flag set are never read; ``None``: the flag has no rule.
        evaluators: the shared evaluators of the document that has the flag.
        metadata: the metadata of the flag, with its flag set's.
        problem: why the flag cannot be evaluated; ``None`` if it can.
        rule_length: about how many characters the JSON of ``targeting`` has, with the evaluators that it may refer to.
        version: flagd does not number the versions of a flag.
        deleted: present in the data, so not deleted.
    """

    key: str
    is_enabled: bool = True
    variants: Mapping[str, Any] = {}
    default_variant: str | None = None
    targeting: bytes | None = None
    evaluators: Evaluators = NO_EVALUATORS
    metadata: FlagMetadata = NO_METADATA
    problem: str | None = None
    rule_length: int = 0
    version: int = 0
    deleted: bool = False

    @property
    def variations(self) -> tuple[Any, ...]:
        """The values of the variants."""
        return tuple(self.variants.values())

    @property
    def rule(self) -> Any:
        """The rule, parsed at each call; ``None`` without a rule. ``{"$ref": name}`` stands for a shared evaluator."""
        return None if self.targeting is None else msgspec.json.decode(self.targeting)


# -- The types of flagd's options, for the options themselves and for the parts of a client that use them.
# Source: ``flagd.md`` 1.1 and 1.2.


Resolver: TypeAlias = Literal["rpc", "in-process", "file", "ofrep"]
CacheKind: TypeAlias = Literal["lru", "disabled"]
FatalCodesScope: TypeAlias = Literal["first-connection", "always"]
SyncMetadata: TypeAlias = Literal["stream", "rpc", "off"]
FractionalVersion: TypeAlias = Literal[2, 3]
ContextEnricher: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
