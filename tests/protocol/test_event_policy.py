"""EventPolicy: where events of each kind of SDK are sent."""

from __future__ import annotations

import pytest

from aioflags.protocol.side import MOBILE_EVENTS, SERVER_EVENTS, EventPolicy


@pytest.mark.parametrize(
    ("policy", "events", "diagnostics"),
    [
        pytest.param(SERVER_EVENTS, "/bulk", "/diagnostic", id="an SDK key"),
        pytest.param(MOBILE_EVENTS, "/mobile/events/bulk", "/mobile/events/diagnostic", id="a mobile key"),
    ],
)
@pytest.mark.parametrize("base", ["https://e.test", "https://e.test/", "https://e.test/a/b", "https://e.test/a/b//"])
def test_events_are_sent_below_the_path_of_the_base(policy: EventPolicy, events: str, diagnostics: str, base: str) -> None:
    joined = base.rstrip("/")
    assert (policy.events_url(base), policy.diagnostic_url(base)) == (joined + events, joined + diagnostics)
