"""PinnedMemberships: the memberships for one evaluation, or for all evaluations of one request."""

from __future__ import annotations

from aioflags.evaluation.scope import FindMembership
from aioflags.model.membership import Membership

__all__ = ["PinnedMemberships"]


class PinnedMemberships:
    """Looks each membership up once with ``find`` and keeps it, so that it does not change when the cache forgets it.

    ``was_fetched``: the store was asked for what the cache lacks.
    """

    def __init__(self, find: FindMembership, *, was_fetched: bool) -> None:
        self.find = find
        self.was_fetched: bool = was_fetched
        self._memberships: dict[str, Membership] = {}

    def __call__(self, key: str) -> Membership | None:
        membership = self._memberships.get(key)
        if membership is None and (membership := self.find(key)) is not None:
            self.put(key, membership)
        return membership

    def put(self, key: str, membership: Membership) -> None:
        """Keep a membership."""
        self._memberships[key] = membership
