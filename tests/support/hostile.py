"""Objects that programs pass and that misbehave when they are read: proxies, subclasses, and objects whose methods raise or lie."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import types
import uuid
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partialmethod
from typing import Any, Final, Never

from hypothesis import strategies as st

from tests.support.contexts import JSON


class Lazy:
    """A proxy of the value that ``get`` returns, like those of werkzeug, Django and wrapt: ``__class__`` is that of the value."""

    def __init__(self, get: Callable[[], Any]) -> None:
        object.__setattr__(self, "_get", get)

    @property
    def __class__(self) -> Any:
        return self._get().__class__

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise AttributeError

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_get")(), name)

    def __str__(self) -> str:
        return str(self._get())

    def __int__(self) -> int:
        return int(self._get())

    def __float__(self) -> float:
        return float(self._get())

    def __bool__(self) -> bool:
        return bool(self._get())

    def __len__(self) -> int:
        return len(self._get())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get())

    def __getitem__(self, key: Any) -> Any:
        return self._get()[key]

    def __eq__(self, other: object) -> bool:
        return bool(self._get() == other)

    def __hash__(self) -> int:
        return hash(self._get())


class Raises:
    """Each access that Python offers raises, also that to ``__class__``."""

    def _fail(self, *_: object) -> Never:
        raise ZeroDivisionError("secret")

    __class__ = property(_fail)  # pyright: ignore[reportIncompatibleMethodOverride]  # on purpose, as below
    __eq__ = __hash__ = __len__ = __iter__ = __str__ = __repr__ = __bool__ = __int__ = __float__ = __index__ = _fail
    __getitem__ = __contains__ = __lt__ = __gt__ = __sub__ = __getattr__ = _fail


class LiesAboutItsClass:
    """Says that it is of another class, and has nothing of that class."""

    def __init__(self, pretended: type) -> None:
        self._pretended = pretended

    @property
    def __class__(self) -> Any:
        return self._pretended

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise AttributeError


class RaisingMapping(Mapping[str, Any]):
    """A mapping whose values cannot be read."""

    def __getitem__(self, key: str) -> Never:
        raise LookupError("secret")

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])

    def __len__(self) -> int:
        return 2


class RaisingZone(dt.tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _: dt.datetime | None) -> Never:
        raise ZeroDivisionError("secret")

    tzname = dst = utcoffset


class _RaisingText(str):
    __slots__ = ()

    def _fail(self, *_: object) -> Never:
        raise ZeroDivisionError("secret")

    __eq__ = __len__ = __iter__ = __str__ = __repr__ = _fail  # pyright: ignore[reportAssignmentType]  # on purpose
    __hash__ = str.__hash__


class _RaisingNumber(float):
    def _fail(self, *_: object) -> Never:
        raise ZeroDivisionError("secret")

    __eq__ = __hash__ = __float__ = __int__ = __bool__ = __str__ = __sub__ = __lt__ = _fail


class _RaisingList(list[Any]):
    def __iter__(self) -> Never:
        raise ZeroDivisionError("secret")

    def __len__(self) -> Never:
        raise ZeroDivisionError("secret")


class _RaisingClass(type):
    def __hash__(cls) -> Never:
        raise ZeroDivisionError("secret")

    def __eq__(cls, _: object) -> Never:
        raise ZeroDivisionError("secret")


class _OfRaisingClass(metaclass=_RaisingClass):
    pass


class _Ratio(float):
    pass


class _Count(int):
    pass


class _Color(enum.Enum):
    RED = "red"
    SELF = object()
    MOMENT = dt.datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 -- without a time zone


class _Plan(enum.StrEnum):
    PRO = "pro"


class _Level(enum.IntFlag):
    LOW = 1


@dataclasses.dataclass
class _Record:
    name: str = "n"


class _DType:
    def __init__(self, kind: str) -> None:
        self.kind = kind


def _returned(_: object, value: Any) -> Any:
    return value


def _same(self: object, _: object) -> object:
    return self


def numpy_scalar(kind: str, item: object) -> Any:
    """A scalar as numpy has them, with the kind of its ``dtype`` and what ``item`` returns, on the class ``numpy.generic``."""
    generic = type("generic", (), {"__module__": "numpy"})
    methods = {
        "__module__": "numpy",
        "dtype": _DType(kind),
        "item": partialmethod(_returned, item),
        "__float__": partialmethod(_returned, item),
        "astype": _same,
    }
    return type("scalar", (generic,), methods)()


def _cycle() -> list[Any]:
    cycle: list[Any] = [b"x"]
    cycle += [cycle, cycle]
    return cycle


def _deep(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = [value]
    return value


NOON: Final = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
OBJECTS: Final[dict[str, Any]] = {
    "a proxy of text": Lazy(lambda: "pro"),
    "a proxy of a number": Lazy(lambda: 5),
    "a proxy of a boolean": Lazy(lambda: True),
    "a proxy of a list": Lazy(lambda: [1, (2,)]),
    "a proxy of an object": Lazy(lambda: {"a": 1}),
    "a proxy of a proxy": Lazy(lambda: Lazy(lambda: "pro")),
    "a proxy without a target": Lazy(lambda: 1 / 0),
    "an object that raises": Raises(),
    "an object of a class that raises": _OfRaisingClass(),
    "not text": LiesAboutItsClass(str),
    "not a number": LiesAboutItsClass(float),
    "not a list": LiesAboutItsClass(list),
    "not an object": LiesAboutItsClass(dict),
    "not an enum": LiesAboutItsClass(_Color),
    "not a datetime": LiesAboutItsClass(dt.datetime),
    "a mapping that raises": RaisingMapping(),
    "a time zone that raises": dt.datetime(2026, 1, 1, tzinfo=RaisingZone()),
    "text that raises": _RaisingText("pro"),
    "a number that raises": _RaisingNumber(0.5),
    "a list that raises": _RaisingList([1]),
    "a subclass of float": _Ratio(0.5),
    "a subclass of int": _Count(5),
    "an enum": _Color.RED,
    "an enum of an object": _Color.SELF,
    "an enum of a datetime": _Color.MOMENT,
    "an enum of text": _Plan.PRO,
    "flags": _Level.LOW,
    "a decimal": decimal.Decimal("1.5"),
    "a decimal that is not a number": decimal.Decimal("sNaN"),
    "a large decimal": decimal.Decimal("1e999"),
    "a fraction": fractions.Fraction(1, 2),
    "a complex number": 1j,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a large number": 10**400,
    "a very large number": -(10**5000),
    "a datetime": NOON,
    "a datetime without a zone": dt.datetime(2026, 7, 1, 12),  # noqa: DTZ001 -- without a time zone
    "the first datetime": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
    "a date": dt.date(2026, 7, 1),
    "a time": dt.time(12),
    "a duration": dt.timedelta(1),
    "a UUID": uuid.UUID(int=5),
    "a path": pathlib.PurePosixPath("/a"),
    "bytes": b"x",
    "a set": {1},
    "a generator": (each for each in [1]),
    "a class": int,
    "a function": len,
    "a dataclass": _Record(),
    "an exception": ZeroDivisionError("secret"),
    "a number of numpy": numpy_scalar("i", 5),
    "a boolean of numpy": numpy_scalar("b", True),
    "a datetime of numpy": numpy_scalar("M", NOON),
    "a duration of numpy": numpy_scalar("m", 5),
    "an object of numpy": numpy_scalar("O", object()),
    "names that are not text": {1: 2, None: 3, (4,): 5},
    "a name that raises": {_RaisingText("a"): 1},
    "a tuple": (1, (2, b"x")),
    "a read-only mapping": types.MappingProxyType({"a": (1,)}),
    "a mapping in a class": UserDict({"a": _Plan.PRO}),
    "ordered": OrderedDict(a=1),
    "with a default": defaultdict(list),
    "half a surrogate pair": "\ud800",
    "half a surrogate pair in a name": {"\ud800": ["\udfff"]},
    "a cycle": _cycle(),
    "126 levels": _deep(125),
    "127 levels": _deep(126),
    "10,000 levels": _deep(10_000),
}
"""Objects by what they are."""


class Named:
    """An object by its name, for hypothesis, which compares and shows what it draws."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"OBJECTS[{self.name!r}]"


TREES: Final = st.recursive(
    JSON | st.sampled_from([Named(name) for name in OBJECTS]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
"""JSON with such objects anywhere in it; :func:`grown` puts them in."""


def grown(tree: Any) -> Any:
    """The tree with the objects in the place of their names."""
    match tree:
        case Named():
            return OBJECTS[tree.name]
        case list():
            return [grown(inner) for inner in tree]
        case dict():
            return {name: grown(inner) for name, inner in tree.items()}
        case _:
            return tree
