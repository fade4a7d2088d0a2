"""Code as users write it, which both type checkers have to take as it is meant. It is checked, and never run.

``assert_type`` says what a checker has to find; a line that it has to refuse carries an ignore, which is an error itself where
nothing is refused.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from aioflags import Client, Context, EvaluationDetail, Flag, Flags

CHECKOUT = Flag[bool]("checkout-v2", default=False)
THEME = Flag("theme", default="light")
LIMITS = Flag[dict[str, object]]("limits", default={"items": 10})
RATIO = Flag[float]("ratio", default=1)
MAYBE = Flag[str | None]("maybe", default=None)


def declarations() -> None:
    assert_type(CHECKOUT.default, bool)
    assert_type(THEME, Flag[str])
    assert_type(LIMITS.default, dict[str, object])
    assert_type(RATIO.default, float)
    assert_type(CHECKOUT.key, str)
    Flag[bool]("checkout-v2", default="no")  # type: ignore[arg-type]  # a string is no bool
    Flag[bool]("checkout-v2")  # type: ignore[call-arg]  # a flag has a default


async def doors(client: Client, context: Context) -> None:
    assert_type(await client.variation(CHECKOUT, context), bool)
    assert_type(await client.variation(CHECKOUT), bool)
    assert_type(client.variation_nowait(THEME, context), str)
    assert_type(await client.variation_detail(LIMITS, context), EvaluationDetail[dict[str, object]])
    assert_type(client.variation_detail_nowait(RATIO, context), EvaluationDetail[float])
    assert_type(await client.variation(MAYBE, context), str | None)
    assert_type(await client.variation(CHECKOUT, context, True), bool)
    assert_type(await client.variation(CHECKOUT.key, context), Any)
    await client.explain(CHECKOUT, context)
    client.changes(CHECKOUT, context)


def pinned(flags: Flags) -> None:
    assert_type(flags.variation(CHECKOUT), bool)
    assert_type(flags.variation_detail(THEME), EvaluationDetail[str])
    assert_type(flags.variation("theme", "light"), str)
    text: str = flags.variation(CHECKOUT)  # type: ignore[assignment]  # it is a bool
    flags.variation(text, "x")
