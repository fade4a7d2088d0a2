"""What is deprecated works as before, and its warning names the successor, the end, and the line that calls it."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import pytest

from aioflags.runtime.deprecation import Deprecation, deprecated_since, deprecation_of, release


class Old:
    """Each sort of function that can be deprecated."""

    @deprecated_since("1.4", instead="Old.new", removed_in="2.0")
    def method(self, number: int) -> int:
        """The docstring."""
        return number + 1

    @deprecated_since("1.4", instead="Old.new", removed_in="2.0")
    async def coroutine(self, number: int) -> int:
        return number + 1

    @property
    @deprecated_since("1.4", instead="Old.new", removed_in="2.0")
    def property(self) -> int:
        return 2

    @classmethod
    @deprecated_since("1.4", instead="Old.new", removed_in="2.0")
    def class_method(cls, number: int) -> int:
        return number + 1


async def called(name: str) -> int:
    old = Old()
    match name:
        case "coroutine":
            return await old.coroutine(1)
        case "property":
            return old.property
        case "class_method":
            return Old.class_method(1)
        case _:
            return old.method(1)


@pytest.mark.parametrize("name", ["method", "coroutine", "property", "class_method"])
async def test_a_deprecated_function_works_and_warns_the_line_that_calls_it(name: str) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert await called(name) == 2
    (warning,) = seen
    assert warning.category is DeprecationWarning
    assert str(warning.message) == f"Old.{name} is deprecated since aioflags 1.4 and removed in 2.0: use Old.new"
    assert Path(warning.filename) == Path(__file__)


@pytest.mark.parametrize("name", ["method", "coroutine", "property", "class_method"])
def test_its_mark_can_be_read(name: str) -> None:
    mark = deprecation_of(inspect.getattr_static(Old, name))
    assert mark == Deprecation(name=f"Old.{name}", since="1.4", instead="Old.new", removed_in="2.0")


def test_a_deprecated_function_keeps_its_signature_and_its_kind() -> None:
    assert list(inspect.signature(Old.method).parameters) == ["self", "number"]
    assert Old.method.__doc__ == "The docstring."
    assert inspect.iscoroutinefunction(Old.coroutine)
    assert not inspect.iscoroutinefunction(Old.method)


def test_a_function_without_a_mark_is_not_deprecated() -> None:
    assert deprecation_of(called) is None


def use_an_option() -> None:
    Deprecation(name="Http(old=…)", since="1.0", instead="Http(new=…)", removed_in="1.1").warn()


def test_an_option_warns_the_caller_of_the_function_that_has_it() -> None:
    with pytest.warns(DeprecationWarning, match=r"Http\(old=…\) is deprecated .* use Http\(new=…\)") as seen:
        use_an_option()
    assert seen[0].lineno == inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("since", "removed_in", "message"),
    [
        pytest.param("1.4", "1.4", "later minor or major version", id="an end at once"),
        pytest.param("1.4", "1.4.9", "later minor or major version", id="an end in a patch release"),
        pytest.param("2.0", "1.9", "later minor or major version", id="an end before the beginning"),
        pytest.param("next", "2.0", "expected a version like", id="a word for a version"),
        pytest.param("1.4", "2", "expected a version like", id="a number alone"),
        pytest.param("1.4", "²٠.0", "expected a version like", id="digits that are not ASCII"),
    ],
)
def test_an_end_that_users_cannot_prepare_for_is_refused(since: str, removed_in: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deprecated_since(since, instead="new", removed_in=removed_in)(lambda: None)


@pytest.mark.parametrize("thing", [Old, property(lambda _: 1), staticmethod(len), 5], ids=["class", "property", "static", "number"])
def test_only_a_function_can_be_decorated(thing: object) -> None:
    with pytest.raises(TypeError, match="expected a function, got "):
        deprecated_since("1.4", instead="new", removed_in="2.0")(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "due"),
    [("1.9", False), ("1.99.99", False), ("2.0.0", True), ("2.0.0rc1", True), ("2.0.dev1", True), ("2.1", True), ("10.0", True)],
)
def test_a_name_is_due_in_the_version_of_its_end(version: str, due: bool) -> None:
    assert Deprecation(name="f", since="1.4", instead="g", removed_in="2.0").is_due(version) is due


@pytest.mark.parametrize(
    ("version", "parts"), [("1.4", (1, 4, 0)), ("1.4.2", (1, 4, 2)), ("1.4.2rc1", (1, 4, 2)), ("10.0.dev3", (10, 0, 0))]
)
def test_a_version_is_compared_by_its_numbers(version: str, parts: tuple[int, int, int]) -> None:
    assert release(version) == parts
