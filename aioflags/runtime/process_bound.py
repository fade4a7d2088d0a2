"""ProcessBound: the base of what belongs to one process, such as clients. It cannot be pickled or copied, and says so."""

from __future__ import annotations

from typing import ClassVar, NoReturn

__all__ = ["ProcessBound"]


class ProcessBound:
    """Refuses to be pickled or copied. Otherwise the error would name a part: ``cannot pickle '_thread.lock' object``."""

    __slots__ = ()

    _instead: ClassVar[str] = "make one in each process"
    """What a program does instead."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} objects cannot be pickled or copied: {self._instead}")
