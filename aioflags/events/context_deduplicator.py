"""ContextDeduplicator: whom analytics have been told about, so that nobody is described twice in a row.

Source: ``events.md`` 7.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from aioflags.model.context import Context

__all__ = ["ContextDeduplicator"]


class ContextDeduplicator:
    """The contexts that came last, at most ``capacity`` of them; with 0, nobody is ever known.

    ``renew`` takes the key of a user and makes it the newest; it raises ``KeyError`` if the key is not in here. It is
    ``OrderedDict.move_to_end``. With a GIL it needs no lock, since it is a single C function: for keys of the class ``str`` no
    other thread runs in the middle of it. Without a GIL the recorder does not call it, and calls :meth:`meet` under its lock.
    """

    __slots__ = ("_capacity", "_known", "renew")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: OrderedDict[Hashable, None] = OrderedDict()
        self.renew: Callable[[Hashable], None] = self._known.move_to_end

    def meet(self, context: Context) -> bool:
        """Whether a valid context is new. It is the newest of the known ones from now on."""
        if context.kind == "user" and context.members is None:
            identity: Hashable = context.key
        else:
            # Apart from users: their keys stand for themselves, and one may look like the canonical key of somebody else.
            identity = (context.canonical_key,)
        known = self._known
        try:
            known.move_to_end(identity)
        except KeyError:
            known[identity] = None
        else:
            return False
        if len(known) > self._capacity:
            known.popitem(last=False)
        return True

    def clear(self) -> None:
        """Forgets everybody."""
        self._known.clear()
