"""Rollouts: percentage rollouts and experiments, compiled to comparisons of one hash with constants.

Source: ``evaluation.md`` 3.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.attributes import Find, clean_kind, finder, reference
from aioflags.evaluation.hashing import bucket_digest, bucket_prefix, bucket_text, sha1, threshold
from aioflags.evaluation.scope import Evaluate, Predicate, Scope
from aioflags.evaluation.visits import MalformedError
from aioflags.model.flag import Rollout

if TYPE_CHECKING:
    from aioflags.model.context import Context


class AnswerFor(Protocol):
    """Makes the answer for one variation of a flag."""

    def __call__(self, variation: int, *, in_experiment: bool = False) -> Answer: ...


def choose(rollout: Rollout, *, key: str, salt: str, answer: AnswerFor) -> Evaluate:
    """The function that picks one of the rollout's variations. ``rollout`` has at least one.

    An experiment buckets by key and ignores ``bucket_by``.
    """
    is_experiment = rollout.kind == "experiment"
    kind = clean_kind(rollout.context_kind)
    prefix = bucket_prefix(key, salt, rollout.seed)
    shares: list[tuple[float, bytes, Answer, Answer]] = []
    share = 0.0
    for weighted in rollout.variations or ():
        share += weighted.weight / 100000.0
        untracked = answer(weighted.variation)
        is_tracked = is_experiment and not weighted.untracked
        tracked = answer(weighted.variation, in_experiment=True) if is_tracked else untracked
        shares.append((share, threshold(share), tracked, untracked))
    # Without a context of that kind, or if the value cannot be hashed, the bucket is 0.
    lowest = next((choice for choice in shares if choice[0] > 0.0), shares[-1])
    # Most rollouts have two variations, so the first comparison stands before the loop. The last variation needs no comparison.
    (first_bound, first), *steps = [(bound, tracked) for _, bound, tracked, _ in shares]
    between, last, absent = tuple(steps[:-1]), shares[-1][2], lowest[3]

    if is_experiment or not rollout.bucket_by:

        def choose_by_key(context: Context, scope: Scope) -> Answer:
            single = context if context.kind == kind else context.member(kind)
            if single is None:
                return absent
            # Inlined from bucket_digest: the hash is most of the cost of a rollout, and a call would be most of the rest.
            try:
                digest = sha1(prefix + single.key.encode()).digest()
            except UnicodeEncodeError:
                digest = bucket_digest(prefix, single.key)
            if digest < first_bound:
                return first
            for bound, tracked in between:
                if digest < bound:
                    return tracked
            return last

        return choose_by_key

    text_of = _text_of(rollout.bucket_by, rollout.context_kind)

    def choose_by_attribute(context: Context, scope: Scope) -> Answer:
        text = text_of(context.member(kind))
        if text is None:
            return absent
        digest = bucket_digest(prefix, text)
        if digest < first_bound:
            return first
        for bound, tracked in between:
            if digest < bound:
                return tracked
        return last

    return choose_by_attribute


def within_weight(weight: int, *, key: str, salt: str, bucket_by: str | None, context_kind: str | None) -> Predicate:
    """Whether a context is in the share of a segment rule's ``weight``. False without a context of ``context_kind``."""
    kind = clean_kind(context_kind)
    prefix, share = bucket_prefix(key, salt, None), weight / 100000.0
    bound, holds_zero = threshold(share), share > 0.0
    text_of = _text_of(bucket_by or "key", context_kind)

    def is_within(context: Context, scope: Scope) -> bool:
        single = context.member(kind)
        text = text_of(single)
        if text is None:
            return holds_zero and single is not None
        return bucket_digest(prefix, text) < bound

    return is_within


def _text_of(bucket_by: str, context_kind: str | None) -> Callable[[Context | None], str | None]:
    """The function that returns the text to hash. An invalid attribute reference raises when the function is called."""
    parsed = reference(bucket_by, context_kind)
    find: Find = finder(parsed)

    def text_of(single: Context | None) -> str | None:
        if parsed.error is not None:
            raise MalformedError(f"buckets by an invalid attribute reference: {parsed.error}")
        return None if single is None else bucket_text(find(single))

    return text_of
