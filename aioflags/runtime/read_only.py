"""ReadOnlyMapping: a mapping of options that cannot be changed, but copied and pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar, final

__all__ = ["ReadOnlyMapping"]

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


@final
class ReadOnlyMapping(Mapping[K, V_co]):
    """A copy of ``values``. ``types.MappingProxyType`` cannot be copied deeply or pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[K, V_co]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: K) -> V_co:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)
