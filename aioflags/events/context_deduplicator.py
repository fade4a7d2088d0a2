"""ContextDeduplicator: remembers which contexts were described, so that each is described once and not with every event.

Source: ``events.md`` 7.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from aioflags.model.context import Context

__all__ = ["ContextDeduplicator"]


class ContextDeduplicator:
    """The newest contexts, at most ``capacity`` of them. With a capacity of 0 every context is new.

    ``refresh`` takes the key of a user and makes it the newest; it raises ``KeyError`` for a key that is not remembered. It is
    ``OrderedDict.move_to_end``. With a GIL it needs no lock, since it is a single C function: for keys of the class ``str`` no
    other thread runs in the middle of it. Without a GIL the recorder does not call it, and calls :meth:`add` under its lock.
    """

    __slots__ = ("_capacity", "_identities", "refresh")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._identities: OrderedDict[Hashable, None] = OrderedDict()
        self.refresh: Callable[[Hashable], None] = self._identities.move_to_end

    def add(self, context: Context) -> bool:
        """Whether a valid context is new. It becomes the newest."""
        if context.kind == "user" and context.members is None:
            identity: Hashable = context.key
        else:
            # In a tuple: the key of a user may look like the canonical key of another kind, such as "org:o".
            identity = (context.canonical_key,)
        identities = self._identities
        try:
            identities.move_to_end(identity)
        except KeyError:
            identities[identity] = None
        else:
            return False
        if len(identities) > self._capacity:
            identities.popitem(last=False)
        return True

    def clear(self) -> None:
        """Forget all contexts."""
        self._identities.clear()
