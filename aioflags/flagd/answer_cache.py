"""AnswerCache: answers of a server for flags without targeting rules, until their flags change.

Source: ``flagd.md`` 7.2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from aioflags.model.detail import EvaluationDetail, Reason, ReasonKind
from aioflags.model.nesting import SCALARS
from aioflags.model.values import fresh
from aioflags.runtime.fork import Lock, reset_after_fork

__all__ = ["AnswerCache"]

_CACHED: Final = Reason(kind=ReasonKind.CACHED)


class AnswerCache:
    """At most ``size`` answers by the key of the flag and the requested type; the least recently used one goes first.

    Can be used from any thread. Size 0 keeps nothing. In the child of a fork it is empty.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[tuple[str, type], EvaluationDetail[Any]] = OrderedDict()
        self._lock = Lock()
        self._generation = 0
        self.is_followed: bool = True
        """Whether the server reports changes now. While it does not, new answers are not kept: they could not be invalidated."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: no event of the parent's stream arrives here that would invalidate the parent's answers."""
        # A new object, without the lock: a thread of the parent may have been changing the old one.
        self._answers = OrderedDict()

    @property
    def generation(self) -> int:
        """Grows with each invalidation. Read it before a call, and pass it to :meth:`put`."""
        return self._generation

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str, expected: type) -> EvaluationDetail[Any] | None:
        """The answer, with the reason ``CACHED``."""
        with self._lock:
            answer = self._answers.get((key, expected))
            if answer is None:
                return None
            self._answers.move_to_end((key, expected))
        # The caller may change an array or object.
        return answer if answer.value.__class__ in SCALARS else replace(answer, value=fresh(answer.value))

    def put(self, key: str, expected: type, answer: EvaluationDetail[Any], generation: int) -> None:
        """Keep an answer whose reason is ``STATIC``, if the server reports changes.

        It is not kept if something changed since ``generation``: it may be older than that.
        """
        # A server may call the reason STATIC and send no value: then the answer has the default of one caller.
        if answer.reason.kind is not ReasonKind.STATIC or answer.is_default or self._size == 0:
            return
        with self._lock:
            if generation != self._generation or not self.is_followed:
                return
            self._answers.pop((key, expected), None)
            self._answers[key, expected] = replace(answer, value=fresh(answer.value), reason=_CACHED)
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)

    def invalidate(self, keys: Collection[str] | None) -> None:
        """Remove the answers of these flags, of all types; ``None``: all answers."""
        with self._lock:
            self._generation += 1
            if keys is None:
                self._answers.clear()
                return
            names = frozenset(keys)
            for entry in [entry for entry in self._answers if entry[0] in names]:
                del self._answers[entry]
