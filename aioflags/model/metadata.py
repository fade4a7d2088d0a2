"""Metadata of flags: what the maintainers of flags attach to a flag or to a set of flags, for example the team that owns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, final

__all__ = ["NO_METADATA", "FlagMetadata", "MetadataValue"]

MetadataValue: TypeAlias = str | bool | int | float


@final
class FlagMetadata(Mapping[str, MetadataValue]):
    """Metadata by name. It cannot be changed, and it can be hashed, copied and pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, MetadataValue]) -> None:
        self._values: dict[str, MetadataValue] = dict(values)

    def __getitem__(self, name: str) -> MetadataValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


NO_METADATA: Final = FlagMetadata({})
