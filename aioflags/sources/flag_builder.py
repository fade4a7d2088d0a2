"""FlagBuilder: builds a flag in code: variations, targets, rules that compare for equality, rollouts.

Documents can have complete definitions.

Source: ``client-surface.md`` 17; ``data-system.md`` 9.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.flag import Clause, FlagDefinition, FlagRule, Rollout, Target, VariationOrRollout, WeightedVariation
from aioflags.model.values import plain_text, same_json
from aioflags.protocol.flag_documents import plain_json
from aioflags.runtime.validation import require

WANTED: Final = "a FlagBuilder, as flag(key) returns one (set(key, value) serves one value to every context)"
"""The text of the error if ``update`` gets another type."""

_BOOLEAN: Final = (True, False)
_Served: TypeAlias = bool | int | Mapping[bool | int, float]


class FlagBuilder:
    """Builds a flag. Each method changes the builder and returns it; ``MemorySource.update`` publishes the flag.

    A new flag is boolean: on, true for all contexts, false when off. A variation is an index, or ``True`` or ``False``: a boolean
    makes a flag of another type boolean first.
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

    def on(self, on: bool = True) -> FlagBuilder:  # noqa: FBT001, FBT002 -- on(False) is readable
        """Turn the flag on, so that targets, rules and the fallthrough apply, or off: then the off variation is served."""
        self._on = on
        return self

    def boolean(self) -> FlagBuilder:
        """Make it a boolean flag if it is not one: true for every context that no rule or target matches."""
        if not same_json(self._variations, _BOOLEAN):
            self._variations = _BOOLEAN
            self._fallthrough = VariationOrRollout(variation=0)
            self._off = 1
        return self

    def variations(self, *values: object) -> FlagBuilder:
        """Set the values of the flag. Raises :class:`ConfigError` if one is not a JSON value."""
        self._variations = tuple(plain_json(value, f"variations[{index}]") for index, value in enumerate(values))
        return self

    def fallthrough_variation(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Set the variation served when the flag is on and no target or rule matches."""
        self._fallthrough = VariationOrRollout(variation=self._index(variation))
        return self

    def fallthrough_rollout(self, percentages: Mapping[bool | int, float], *, kind: str = "user", by: str = "key") -> FlagBuilder:
        """Divide the contexts that no target or rule matches among variations, as in ``{True: 10, False: 90}``.

        A context keeps its variation, because a hash of its attribute ``by`` decides. A context without that ``kind`` or attribute
        gets the first variation that has a share.

        Raises:
            ConfigError: the percentages do not add up to 100, or one is negative.
        """
        self._fallthrough = VariationOrRollout(rollout=self._rollout(percentages, kind, by))
        return self

    def off_variation(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Set the variation served when the flag is off."""
        self._off = self._index(variation)
        return self

    def variation_for_all(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Serve one variation to all contexts: turn the flag on, and remove targets and rules."""
        return self.on().clear_targets().clear_rules().fallthrough_variation(variation)

    def value_for_all(self, value: object) -> FlagBuilder:
        """Serve one value to all contexts. It becomes the only variation."""
        self._off = None
        return self.variations(value).variation_for_all(0)

    def variation_for_key(self, kind: str, key: str, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Set the variation for the context with this kind and key. Targets come before rules."""
        self._targets.setdefault(kind, {})[key] = self._index(variation)
        return self

    def variation_for_user(self, key: str, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Set the variation for the user with this key. Targets come before rules."""
        return self.variation_for_key("user", key, variation)

    def if_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Start a rule for contexts of ``kind`` whose attribute is one of the values."""
        return RuleBuilder(self._add_rule).and_match(attribute, *values, kind=kind)

    def if_not_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Start a rule for contexts of ``kind`` that have the attribute, with a value that is not one of these."""
        return RuleBuilder(self._add_rule).and_not_match(attribute, *values, kind=kind)

    def clear_targets(self) -> FlagBuilder:
        """Remove all targets."""
        self._targets = {}
        return self

    def clear_rules(self) -> FlagBuilder:
        """Remove all rules."""
        self._rules = []
        return self

    def definition(self, version: int) -> FlagDefinition:
        """The flag as built so far. The builder can still be changed."""
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
        """The index of a variation; a boolean makes the flag boolean."""
        if isinstance(variation, bool):
            self.boolean()
            return _BOOLEAN.index(variation)
        if variation.__class__ is not int or variation < 0:
            raise ConfigError(f"{self.key}: expected a variation as an index, True or False, got {variation!r}")
        return variation

    def _rollout(self, percentages: Mapping[bool | int, float], kind: str, by: str) -> Rollout:
        require("kind", kind, str)
        require("by", by, str)
        for percentage in require("percentages", percentages, Mapping).values():
            if not require("percentages", percentage, int, float) >= 0:
                raise ConfigError(f"{self.key}: expected percentages of at least 0, got {percentage}")
        if not math.isclose(total := sum(percentages.values()), 100):
            raise ConfigError(f"{self.key}: expected percentages that add up to 100, got {total:g}")
        # Each share ends where the sum is rounded, so that the weights add up.
        shares = [round(share * 1000) for share in accumulate(percentages.values())]
        weights = [share - before for before, share in pairwise([0, *shares])]
        variations = tuple(WeightedVariation(self._index(key), weight) for key, weight in zip(percentages, weights, strict=True))
        return Rollout(variations=variations, context_kind=kind, bucket_by=None if by == "key" else by)

    def _add_rule(self, clauses: tuple[Clause, ...], served: _Served, kind: str, by: str) -> FlagBuilder:
        identity = f"rule{len(self._rules)}"
        if isinstance(served, Mapping):
            rule = FlagRule(clauses=clauses, id=identity, rollout=self._rollout(served, kind, by))
        else:
            rule = FlagRule(clauses=clauses, id=identity, variation=self._index(served))
        self._rules.append(rule)
        return self


class RuleBuilder:
    """Builds a rule, which matches if all of its conditions do. :meth:`then_return` adds it to the flag."""

    def __init__(self, finish: Callable[[tuple[Clause, ...], _Served, str, str], FlagBuilder]) -> None:
        self._finish = finish
        self._clauses: tuple[Clause, ...] = ()

    def and_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Add a condition: the attribute of the context of ``kind`` is one of the values."""
        return self._and(attribute, values, kind, negate=False)

    def and_not_match(self, attribute: str, *values: object, kind: str = "user") -> RuleBuilder:
        """Add a condition: the context of ``kind`` has the attribute, with a value that is not one of these."""
        return self._and(attribute, values, kind, negate=True)

    def then_return(self, variation: bool | int) -> FlagBuilder:  # noqa: FBT001 -- a variation, not a switch
        """Add the rule: contexts that match it, and no earlier rule, get this variation."""
        return self._finish(self._clauses, variation, "user", "key")

    def then_rollout(self, percentages: Mapping[bool | int, float], *, kind: str = "user", by: str = "key") -> FlagBuilder:
        """Add the rule: contexts that match it, and no earlier rule, are divided as in :meth:`FlagBuilder.fallthrough_rollout`."""
        return self._finish(self._clauses, percentages, kind, by)

    def _and(self, attribute: str, values: tuple[object, ...], kind: str, *, negate: bool) -> RuleBuilder:
        require("attribute", attribute, str)
        require("kind", kind, str)
        if not values:
            raise ConfigError(f'{attribute}: expected at least one value, as in if_match("country", "de")')
        plain = tuple(plain_json(value, attribute) for value in values)
        self._clauses += (Clause(op="in", attribute=attribute, values=plain, context_kind=kind, negate=negate),)
        return self


def _targets(definition: FlagDefinition) -> dict[str, dict[str, int]]:
    """The variation of each target, by context kind and key. The first target of a context counts (``evaluation.md`` 3.3)."""
    users = definition.targets or ()
    variations: dict[str, dict[str, int]] = {}
    for target in definition.context_targets or users:
        kind = target.context_kind or "user"
        if definition.context_targets and kind == "user":
            target = next((user for user in users if user.variation == target.variation), Target(target.variation))
        for key in target.values or ():
            variations.setdefault(kind, {}).setdefault(key, target.variation)
    return variations


def _grouped(targets: dict[str, dict[str, int]]) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
    """``targets`` and ``context_targets``: an entry for users in the latter has no keys, and refers to the former."""
    grouped = {
        (kind, variation): tuple(key for key, index in variations.items() if index == variation)
        for kind, variations in targets.items()
        for variation in dict.fromkeys(variations.values())
    }
    users = tuple(Target(variation, keys) for (kind, variation), keys in grouped.items() if kind == "user")
    if not targets.keys() - {"user"}:
        return users, ()
    return users, tuple(Target(variation, () if kind == "user" else keys, kind) for (kind, variation), keys in grouped.items())
