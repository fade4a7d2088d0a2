"""Metadata of flags: what the maintainers of flags attach to a flag or to a set of flags, for example the team that owns it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeAlias, final

from aioflags.runtime.pydantic_schema import PydanticSerializer, pydantic_schema

__all__ = ["NO_METADATA", "FlagMetadata", "MetadataValue"]

MetadataValue: TypeAlias = str | bool | int | float


@final
class FlagMetadata(Mapping[str, MetadataValue]):
    """Metadata by name. It cannot be changed, and it can be hashed, copied and pickled.

    Args:
        values: the values of its own. They hide those of ``base`` with the same name.
        base: the metadata of the flag set. It is shared and not copied, since a set may have thousands of flags.
    """

    __slots__ = ("base", "values_of_its_own")

    def __init__(self, values: Mapping[str, MetadataValue], base: FlagMetadata | None = None) -> None:
        self.values_of_its_own: dict[str, MetadataValue] = dict(values)
        self.base: FlagMetadata | None = base

    @classmethod
    def usable(cls, values: Mapping[str, object], base: FlagMetadata | None = None) -> FlagMetadata:
        """Those of ``values`` that are strings, booleans or numbers, which are all that metadata can have."""
        usable = {name: value for name, value in values.items() if isinstance(value, (str, bool, int, float))}
        if base is None or not base:
            return cls(usable)
        return cls(usable, base) if usable else base

    def __getitem__(self, name: str) -> MetadataValue:
        if self.base is None or name in self.values_of_its_own:
            return self.values_of_its_own[name]
        return self.base[name]

    def __iter__(self) -> Iterator[str]:
        if self.base is not None:
            yield from (name for name in self.base if name not in self.values_of_its_own)
        yield from self.values_of_its_own

    def __len__(self) -> int:
        return len(self.values_of_its_own) if self.base is None else sum(1 for _ in self)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return repr(dict(self))

    __pydantic_serializer__: ClassVar[PydanticSerializer] = PydanticSerializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return pydantic_schema(cls, handler(dict[str, MetadataValue]), read=cls, write=dict)


NO_METADATA: Final = FlagMetadata({})
