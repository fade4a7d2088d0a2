"""Makes the screenshot of the page in the docs: ``python -m tests.support.screenshot docs/how-to/dev-server.png``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx

from aioflags import Client, Config, DataSystem
from aioflags.devserver import Fault, FaultKind, ServerState, create_app, serve
from aioflags.sources import Streaming
from tests.support.browser import browse

FLAGS = {
    "flags": {
        "checkout-v2": {
            "on": True,
            "variations": [True, False],
            "offVariation": 1,
            "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 20000}, {"variation": 1, "weight": 80000}]}},
            "rules": [
                {"id": "pro plan", "variation": 0, "clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}]},
                {"id": "testers", "variation": 0, "clauses": [{"attribute": "", "op": "segmentMatch", "values": ["testers"]}]},
            ],
        },
        "search-ranking": {"on": False, "variations": ["classic", "learned"], "offVariation": 0, "fallthrough": {"variation": 1}},
    },
    "flagValues": {"page-size": 20},
    "segments": {"testers": {"included": ["user-123"]}},
}
EVENTS = [
    {"kind": "identify", "creationDate": 1, "context": {"kind": "user", "key": "user-123", "plan": "pro"}},
    {"kind": "custom", "creationDate": 2, "context": {"kind": "user", "key": "user-123"}, "metricValue": "fast"},
]


async def screenshot() -> bytes:
    """A PNG of the page with a client, an override, a fault and some events."""
    state = ServerState.of(FLAGS)
    async with serve(create_app(state, token="token")) as server:
        url = server.url
        system = DataSystem.custom(synchronizers=[Streaming()])
        config = Config(base_uri=url, stream_uri=url, events_uri=url, application_id="shop", data_system=system)
        async with Client("any-key", config), httpx.AsyncClient(base_url=url) as sender, browse() as page:
            headers = {"X-LaunchDarkly-Payload-ID": "p", "X-LaunchDarkly-Event-Schema": "4", "User-Agent": "AnotherSDK/1.0"}
            await sender.post("/bulk", json=EVENTS, headers=headers)
            state.override("search-ranking", "user-123", "learned")
            state.inject(Fault(kind=FaultKind.DELAY, delay=2.0))
            await page.open(f"{url}/#token=token")
            await page.until("document.querySelectorAll('#flags li').length === 3 && document.querySelector('#clients tr')")
            await page.write("#ask-flag", "checkout-v2")
            await page.press("Enter")
            await page.until("document.querySelector('#answer').innerText")
            return await page.screenshot()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(asyncio.run(screenshot()))
