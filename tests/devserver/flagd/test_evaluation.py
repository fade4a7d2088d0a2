"""The evaluation of flags for the clients of flagd's services."""

from __future__ import annotations

import gc
import weakref

from aioflags.devserver import ServerState
from aioflags.devserver.data.flagd_flags import read_selector
from aioflags.devserver.flagd.evaluation import ServedEvaluator


def test_a_selector_that_is_not_used_any_more_takes_no_memory() -> None:
    state = ServerState.of({"flags": {"on": {"state": "ENABLED", "variants": {"on": True}}}})
    assert state.flagd is not None
    evaluator = ServedEvaluator(state)
    evaluator.resolve("flag", {}, "source=first")
    first = weakref.ref(state.flagd.view(read_selector("source=first")))
    for number in range(200):
        evaluator.resolve("flag", {}, f"source={number}")
    gc.collect()
    assert first() is None
