"""from_function: sources that are one function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from aioflags import Client, Config, Context, DataSystem
from aioflags.errors import ConfigError
from aioflags.protocol.failures import network_failure
from aioflags.sources import (
    Basis,
    ChangeSet,
    FallbackDirective,
    FetchFailure,
    MemorySource,
    Selector,
    SourceContext,
    SourceState,
    Update,
    from_function,
    read_document,
)
from aioflags.sources.base import closing
from tests.support.scripted_http import first, nothing_selected, selecting

DATA = read_document({"flagValues": {"a": 1}})
ERROR = network_failure("gone")
DIRECTIVE = FallbackDirective(ttl=None, origin="header")
BASIS = Basis(change_set=DATA, directive=DIRECTIVE, environment_id="env")
FAILURE = FetchFailure(error=ERROR, directive=DIRECTIVE)
NEWS = Update(state=SourceState.VALID, directive=DIRECTIVE, change_set=DATA, environment_id="env")
QUIET = Update(state=SourceState.VALID, directive=None)
BROKEN = Update(state=SourceState.INTERRUPTED, directive=DIRECTIVE, error=ERROR)
OFF = Update(state=SourceState.OFF, directive=DIRECTIVE, error=ERROR)


def yielding(*results: Any) -> Any:
    async def source(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Any, None]:
        for result in results:
            yield result

    return from_function("own", source).build(SourceContext())


async def found_by(results: AsyncGenerator[Any, None]) -> list[Any]:
    async with closing(results):
        return await first(results, 9)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(BASIS, BASIS, id="a basis"),
        pytest.param(FAILURE, FAILURE, id="a failure"),
        pytest.param(NEWS, BASIS, id="an update with data is a basis"),
        pytest.param(QUIET, Basis(change_set=ChangeSet.unchanged(), directive=None), id="an update without data is an empty basis"),
        pytest.param(BROKEN, FAILURE, id="an interruption is a failure"),
        pytest.param(OFF, FAILURE, id="OFF is a failure"),
    ],
)
async def test_results_of_a_function_as_an_initializer(result: object, expected: object) -> None:
    assert await found_by(yielding(result).fetch(nothing_selected)) == [expected]


@pytest.mark.parametrize(
    ("result", "news"),
    [
        pytest.param(NEWS, NEWS, id="an update"),
        pytest.param(OFF, OFF, id="OFF"),
        pytest.param(BASIS, NEWS, id="a basis is an update with data"),
        pytest.param(Basis(change_set=ChangeSet.unchanged(), directive=None), QUIET, id="an empty basis is an update without data"),
        pytest.param(FAILURE, BROKEN, id="a failure is an interruption"),
    ],
)
async def test_results_of_a_function_as_a_synchronizer(result: object, news: object) -> None:
    assert await found_by(yielding(result).sync(nothing_selected)) == [news]


async def test_an_end_without_an_error_is_a_failure_with_a_message() -> None:
    (failure,) = await found_by(yielding(Update(state=SourceState.OFF, directive=None)).fetch(nothing_selected))
    assert failure.error.message


@pytest.mark.holds("CS-O33")
async def test_the_function_gets_the_context_and_the_cursor_and_is_closed() -> None:
    seen: list[object] = []

    async def source(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        try:
            seen.append((context.poll_interval, selector().state))
            yield QUIET
            yield QUIET
        finally:
            seen.append("closed")

    builder = from_function("own", source)
    for _ in range(2):
        built = builder.build(SourceContext(poll_interval=77.0))
        assert built.name == "own"
        async with closing(built.sync(selecting("s9"))) as news:  # type: ignore[union-attr]  # it is both
            await anext(news)
    assert seen == [(77.0, "s9"), "closed"] * 2


@pytest.mark.parametrize("role", ["fetch", "sync"])
async def test_a_result_of_another_type_raises_type_error(role: str) -> None:
    results = getattr(yielding({"flags": {}}), role)(nothing_selected)
    with pytest.raises(TypeError, match="not dict"):
        await found_by(results)


@pytest.mark.parametrize(("name", "function"), [(5, yielding), ("own", "no function")])
def test_a_name_or_function_of_the_wrong_type_is_refused(name: Any, function: Any) -> None:
    with pytest.raises(ConfigError):
        from_function(name, function)


async def test_a_wrong_value_ends_its_source_and_the_next_source_runs(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.OFF, directive=None, error="gone")  # type: ignore[arg-type]  # the mistake

    system = DataSystem.custom(synchronizers=[from_function("wrong", wrong), MemorySource({"f": 1})])
    async with Client("", Config(data_system=system)) as client:
        assert await client.variation("f", Context("anna"), 0) == 1
        assert client.report.source_state == "VALID"
    assert "expected ErrorInfo or None, got str" in caplog.text
