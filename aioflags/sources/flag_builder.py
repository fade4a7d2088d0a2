"""FlagBuilder: a flag put together by code. What a rule can say here is equality; whole definitions come from documents.

Source: ``client-surface.md`` 17; ``data-system.md`` 9.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.flag import Clause, FlagDefinition, FlagRule, Target, VariationOrRollout
from aioflags.model.values import plain_text, same_json
from aioflags.protocol.documents.document import plain_json
from aioflags.runtime.validation import require

__all__ = ["WANTED", "FlagBuilder", "RuleBuilder"]

WANTED: Final = "a FlagBuilder, as flag(key) returns one (set(key, value) serves one value to every context)"
"""What ``update`` expects, for the error of another type."""

_BOOLEAN: Final = (True, False)


class FlagBuilder:
    """A flag in the making: change it by its methods, each of which returns it, then give it to ``MemorySource.update``.

    A new one is boolean: on, true for everybody, false when off. Variations are named by index or, for boolean flags, as
    ``True`` and ``False``; either of these makes any other flag boolean first.
    """

    def __init__(self, key: str, definition: FlagDefinition | None = None) -> None:
        self.key: str = plain_text(require("key", key, str))
        self._definition = definition or FlagDefinition(key=self.key)
        self._on = bool(self._definition.on)
        self._variations = tuple(self._definition.variations or ())
        self._fallthrough = self._definition.fallthrough
        self._off = self._definition.off_variation
        self._targets = _targets(self._definition)
        self._rules = list(self._definition.rules or ())
        if definition is None:
            self.on().boolean()

    def on(self, on: bool = True) -> FlagBuilder:  # noqa: FBT001, FBT002 -- reads as a sentence: on(False)
        """Whether targets, rules and the fallthrough count at all; else the off variation is served."""
        self._on = on
        return self

    def boolean(self) -> FlagBuilder:
        """Makes it a boolean flag, true for everybody that no rule or target speaks of, if it is none yet."""
        if not same_json(self._variations, _BOOLEAN):
            self._variations = _BOOLEAN
            self._fallthrough = VariationOrRollout(variation=0)
            self._off = 1
        return self

    def variations(self, *values: object) -> FlagBuilder:
        """The values it can have. Raises :class:`ConfigError` for what is no JSON value."""
        self._variations = tuple(plain_json(value, f"variations[{index}]") for index, value in enumerate(values))
        return self

    def fallthrough_variation(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """What is served when it is on and no target or rule matches."""
        self._fallthrough = VariationOrRollout(variation=self._index(variation))
        return self

    def off_variation(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """What is served when it is off."""
        self._off = self._index(variation)
        return self

    def variation_for_all(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """The same for everybody: on, without targets and rules."""
        return self.on().clear_targets().clear_rules().fallthrough_variation(variation)

    def value_for_all(self, value: object) -> FlagBuilder:
        """The same value for everybody, which is then the only one it can have."""
        self._off = None
        return self.variations(value).variation_for_all(0)

    def variation_for_key(self, kind: str, key: str, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """What the context with this kind and key gets, whatever the rules say."""
        self._targets.setdefault(kind, {})[key] = self._index(variation)
        return self

    def variation_for_user(self, key: str, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """What the user with this key gets, whatever the rules say."""
        return self.variation_for_key("user", key, variation)

    def if_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Starts a rule for contexts of ``kind`` whose attribute is one of the values."""
        return RuleBuilder(self._add_rule).and_match(attribute, *values, kind=kind)

    def if_not_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Starts a rule for contexts of ``kind`` that have the attribute, with none of the values."""
        return RuleBuilder(self._add_rule).and_not_match(attribute, *values, kind=kind)

    def clear_targets(self) -> FlagBuilder:
        """Forgets every ``variation_for_key``."""
        self._targets = {}
        return self

    def clear_rules(self) -> FlagBuilder:
        """Forgets every rule."""
        self._rules = []
        return self

    def definition(self, version: int) -> FlagDefinition:
        """What it has become. The builder may go on."""
        targets, context_targets = _grouped(self._targets)
        return msgspec.structs.replace(
            self._definition,
            version=version,
            deleted=False,
            on=self._on,
            variations=self._variations,
            fallthrough=self._fallthrough,
            off_variation=self._off,
            targets=targets,
            context_targets=context_targets,
            rules=tuple(self._rules),
        )

    def _index(self, variation: bool | int) -> int:  # noqa: FBT001 -- a variation, not a switch
        """The index that a variation was named by; a boolean makes the flag boolean."""
        if isinstance(variation, bool):
            self.boolean()
            return _BOOLEAN.index(variation)
        if variation.__class__ is not int or variation < 0:
            raise ConfigError(f"{self.key}: a variation is named by its index or as True or False, not as {variation!r}")
        return variation

    def _add_rule(self, clauses: tuple[Clause, ...], variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        self._rules.append(FlagRule(clauses=clauses, id=f"rule{len(self._rules)}", variation=self._index(variation)))
        return self


class RuleBuilder:
    """A rule in the making: all that was said of it has to hold. It counts from :meth:`then_return` on."""

    def __init__(self, finish: Callable[[tuple[Clause, ...], bool | int], FlagBuilder]) -> None:
        self._finish = finish
        self._clauses: tuple[Clause, ...] = ()

    def and_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Adds a condition: the attribute of the context of ``kind`` is one of the values."""
        return self._and(attribute, values, kind, negate=False)

    def and_not_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Adds a condition: the context of ``kind`` has the attribute, with none of the values."""
        return self._and(attribute, values, kind, negate=True)

    def then_return(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """What contexts get that match, unless an earlier rule does."""
        return self._finish(self._clauses, variation)

    def _and(self, attribute: str, values: tuple[object, ...], kind: str, *, negate: bool) -> RuleBuilder:
        require("attribute", attribute, str)
        require("kind", kind, str)
        if not values:
            raise ConfigError(f'{attribute}: expected at least one value, as in if_match("country", "de")')
        plain = tuple(plain_json(value, attribute) for value in values)
        self._clauses += (Clause(op="in", attribute=attribute, values=plain, context_kind=kind, negate=negate),)
        return self


def _targets(definition: FlagDefinition) -> dict[str, dict[str, int]]:
    """Context kind to key to variation: what targets decide, the first one first (``evaluation.md`` 3.3)."""
    users = definition.targets or ()
    found: dict[str, dict[str, int]] = {}
    for target in definition.context_targets or users:
        kind = target.context_kind or "user"
        if definition.context_targets and kind == "user":
            target = next((user for user in users if user.variation == target.variation), Target(target.variation))
        for key in target.values or ():
            found.setdefault(kind, {}).setdefault(key, target.variation)
    return found


def _grouped(targets: dict[str, dict[str, int]]) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
    """The same as ``targets`` and ``context_targets``, where that of a user only says which one of the former counts."""
    grouped = {
        (kind, variation): tuple(key for key, wanted in variations.items() if wanted == variation)
        for kind, variations in targets.items()
        for variation in dict.fromkeys(variations.values())
    }
    users = tuple(Target(variation, keys) for (kind, variation), keys in grouped.items() if kind == "user")
    if not targets.keys() - {"user"}:
        return users, ()
    return users, tuple(Target(variation, () if kind == "user" else keys, kind) for (kind, variation), keys in grouped.items())
