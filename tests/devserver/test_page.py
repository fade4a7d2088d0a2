"""The page in a real browser, with a connected client that shows the effect of each action."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import httpx
import pytest

from aioflags import Client, Config, Context, DataSystem, Status
from aioflags.devserver import Endpoint, Fault, FaultKind, RunningServer, ServerState, create_app, serve
from aioflags.sources import Polling, Streaming
from tests.devserver.endpoint_requests import request_to
from tests.support.browser import CHROMIUM, Page, browse
from tests.support.canaries import KEY, WATCH

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="this machine has no Chromium"),
]

TOKEN = "the-token"
FLAG = {"on": True, "variations": ["new", "old"], "offVariation": 1, "fallthrough": {"variation": 1}, "rules": []}
RULE = {"id": "pros", "variation": 0, "clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}]}
PRO = Context("u", attributes={"plan": "pro"})
ITEM = "#flags [data-key='checkout']"


class Scene:
    """A server, a connected client, and a browser that shows the page."""

    def __init__(self, state: ServerState, serving: RunningServer, client: Client, page: Page) -> None:
        self.state, self.serving, self.client, self.page = state, serving, client, page

    async def client_gets(self, value: str) -> None:
        """Wait until the client evaluates the flag to this value."""
        with anyio.fail_after(60):
            while await self.client.variation("checkout", PRO, "") != value:
                await anyio.sleep(0.01)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    state = ServerState.of({"flags": {"checkout": FLAG}, "segments": {"beta": {"included": ["x"]}}})
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(serve(WATCH.app(create_app(state, token=TOKEN))))
        url = serving.url
        system = DataSystem.custom(initializers=[Polling()], synchronizers=[Streaming(initial_reconnect_delay=0.1)])
        config = Config(base_uri=url, stream_uri=url, events_uri=url, data_system=system)
        client = await stack.enter_async_context(Client(KEY, config))
        page = await stack.enter_async_context(browse())
        await page.open(f"{url}/#token={TOKEN}")
        await page.until("document.body.dataset.connection === 'live' && document.querySelector('#flags li')")
        yield Scene(state, serving, client, page)


async def test_edits_flips_and_faults_reach_a_connected_client(scene: Scene) -> None:
    page = scene.page
    await scene.client_gets("old")
    # A rule is edited.
    await page.act(f"{ITEM} summary")
    await page.write(f"{ITEM} textarea", json.dumps({**FLAG, "rules": [RULE]}))
    await page.act(f"{ITEM} [data-act=store]")
    await scene.client_gets("new")
    await page.until(f'document.querySelector({json.dumps(ITEM)}).innerText.includes(\'if plan in "pro" → "new"\')')
    # The flag is flipped.
    await page.act(f"{ITEM} [data-act=flip]", "Space")
    await scene.client_gets("old")
    await page.until(f"document.querySelector({json.dumps(ITEM)}).innerText.includes('serves \"old\" to all contexts')")
    # The page lists the client with the last transfer.
    await page.until("[...document.querySelectorAll('#clients tr')].some((row) => row.innerText.includes('/sdk/stream'))")
    await page.until(
        f"document.querySelector('#clients').innerText.includes('xfer-changes on /sdk/stream, version {scene.state.version}')"
    )
    # A fault is injected: the stream is cut, and the client cannot reconnect until the fault is lifted.
    await page.ask("document.querySelector('[name=fault-length][value=lifted]').click()")
    await page.act("#fault button")
    await page.until("document.querySelector('#faults li')?.innerText.includes('until lifted')")
    with anyio.fail_after(60):
        while scene.client.status is not Status.STALE:
            await anyio.sleep(0.01)
    assert scene.state.open_streams[Endpoint.STREAM] == 0
    await page.act(f"{ITEM} [data-act=flip]")
    await page.act("#faults [data-act=lift]")
    await scene.client_gets("new")
    WATCH.text("the page", await page.ask("document.documentElement.outerHTML"))


async def test_a_client_side_sdk_is_listed_with_its_kind_and_context(scene: Scene) -> None:
    method, path = request_to(Endpoint.MOBILE_POLL)
    async with httpx.AsyncClient(base_url=scene.serving.url, trust_env=False) as client:
        assert (await client.request(method, path)).status_code == 200
    await scene.page.until("document.querySelector('#clients').innerText.includes('mobile · ann')")


async def test_a_value_is_explained_and_overridden(scene: Scene) -> None:
    page = scene.page
    await page.write("#ask-flag", "checkout")
    await page.write("#ask-context", '{"kind": "user", "key": "u"}')
    await page.act("#ask button")
    await page.until("document.querySelector('#answer').innerText.includes('no target and no rule matched')")
    await page.until("document.querySelector('#answer li')")
    await page.write("#override-value", '"mine"')
    await page.press("Enter")
    await scene.client_gets("mine")
    await page.until("document.querySelector('#answer').innerText.includes('this context is targeted')")
    await page.act("#overrides [data-act=lift]")
    await scene.client_gets("old")


async def test_a_used_up_fault_is_listed_while_a_stream_is_silent(scene: Scene) -> None:
    page = scene.page
    await page.ask("document.querySelector('#fault-kind').value = 'silence'")
    await page.act("#fault button")
    await page.until("document.querySelector('#faults li')?.innerText.includes('affects 1 open response')")
    await page.act("#faults [data-act=lift]")
    await page.until("!document.querySelector('#faults li')")
    scene.state.flip("checkout")
    scene.state.put("checkout", {**FLAG, "fallthrough": {"variation": 0}})
    await scene.client_gets("new")


async def test_a_mistake_in_a_flag_is_shown_at_its_field(scene: Scene) -> None:
    page = scene.page
    await page.act(f"{ITEM} summary")
    await page.write(f"{ITEM} textarea", '{"on": "yes"}')
    await page.act(f"{ITEM} [data-act=store]")
    await page.until(
        f"document.querySelector({json.dumps(f'{ITEM} .message')}).innerText.includes('flags.checkout.on: expected boolean')"
    )
    assert await page.ask("document.querySelector('#message').innerText") == ""
    assert await page.ask(f"document.querySelector({json.dumps(f'{ITEM} textarea')}).nextSibling.className") == "message bad"
    assert scene.state.version == 1


async def test_a_scenario_is_played_from_the_page(scene: Scene) -> None:
    page = scene.page
    await page.act("#faults-title ~ details summary")
    await page.write("#scenario-steps", '{"steps": [{"flip": "checkout"}, {"after": 0.1, "flip": "checkout"}]}')
    await page.act("#scenario-play")
    await page.until("document.querySelector('#scenario-done').children.length === 2")
    assert scene.state.version == 3


async def test_all_controls_can_be_reached_by_the_tab_key(scene: Scene) -> None:
    page = scene.page
    reached: set[str] = set()
    await page.ask("document.activeElement?.blur()")
    for _ in range(60):
        await page.press("Tab")
        reached.add(await page.ask("document.activeElement.id || document.activeElement.dataset.act || ''"))
    assert {
        "save",
        "find",
        "flip",
        "edit",
        "ask-flag",
        "ask-context",
        "override-value",
        "fault-kind",
        "lift-all",
        "events-clear",
    } <= reached


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param("another", id="when another flag changes"),
        pytest.param("checkout", id="when the flag itself changes"),
    ],
)
async def test_unsaved_text_survives_an_update_of_the_page(scene: Scene, edited: str) -> None:
    page, area = scene.page, f"{ITEM} textarea"
    await page.act(f"{ITEM} summary")
    await page.write(area, "what I ")
    await page.ask(f"document.querySelector({json.dumps(ITEM)}).dataset.seen = 'before'")
    scene.state.put(edited, {**FLAG, "salt": "new"})
    await page.until(f"document.querySelector('#summary').innerText.includes('version {scene.state.version}')")
    await page.type("write")
    assert await page.ask(f"document.querySelector({json.dumps(area)}).value") == "what I write"
    is_replaced = await page.ask(f"!document.querySelector({json.dumps(ITEM)}).dataset.seen")
    assert is_replaced == (edited == "checkout")
    message = await page.ask(f"document.querySelector({json.dumps(f'{ITEM} .message')}).innerText")
    assert ("has changed on the server" in message) == is_replaced


@pytest.mark.parametrize("key", ["constructor", "__proto__", "a/b?c#d%20", "\"';--", "ключ 日本", "../faults"])
async def test_a_flag_key_may_contain_any_character(scene: Scene, key: str) -> None:
    page, item = scene.page, f"#flags [data-key={json.dumps(key, ensure_ascii=False)}]"
    await page.write("#add-key", key)
    await page.press("Enter")
    await page.act(f"{item} [data-act=flip]")
    await page.until("document.querySelector('#message').innerText.endsWith('is now on.')")
    assert scene.state.document()["flags"][key]["on"] is True


@pytest.mark.parametrize(
    ("context", "value", "place", "message"),
    [
        pytest.param("null", "1", "#ask-message", "The context must be an object", id="a context that is null"),
        pytest.param("{", "1", "#ask-message", "The context is not JSON", id="a context of incomplete JSON"),
        pytest.param('{"kind": "multi", "user": {"key": "u"}}', "1", "#ask-message", "a single kind", id="a multi-context"),
        pytest.param(
            '{"kind": "user", "key": "u"}', "new", "#override-message", "The value is not JSON", id="a value without its quotes"
        ),
        pytest.param('{"kind": "user", "key": ""}', "1", "#override-message", "needs a valid context", id="an empty key"),
    ],
)
async def test_a_wrong_override_shows_an_error(scene: Scene, context: str, value: str, place: str, message: str) -> None:
    page = scene.page
    await page.write("#ask-flag", "checkout")
    await page.write("#ask-context", context)
    await page.write("#override-value", value)
    await page.press("Enter")
    await page.until(f"document.querySelector('{place}').innerText.includes({json.dumps(message)})")
    assert scene.state.overrides == ()


async def test_a_json_error_is_shown_until_it_is_corrected(scene: Scene) -> None:
    page, message = scene.page, f"document.querySelector({json.dumps(f'{ITEM} .message')}).innerText"
    await page.act(f"{ITEM} summary")
    await page.write(f"{ITEM} textarea", '{"on": ')
    await page.act(f"{ITEM} [data-act=store]")
    await page.until(message)
    await page.write(f"{ITEM} textarea", json.dumps({**FLAG, "fallthrough": {"variation": 0}}))
    await page.act(f"{ITEM} [data-act=store]")
    await scene.client_gets("new")
    await page.until(f"{message} === 'checkout is updated.'")


async def test_a_fault_is_shown_with_its_units(scene: Scene) -> None:
    injected = scene.state.inject(Fault(kind=FaultKind.DELAY, delay=2.0, lasts=60.0, on=frozenset({Endpoint.EVENTS})))
    await scene.page.until("document.querySelector('#faults li')?.innerText.includes('for 60 s · delay 2 s')")
    scene.state.faults.lift(injected.number)


async def test_a_disconnected_client_leaves_the_table(scene: Scene) -> None:
    page = scene.page
    await page.until("document.querySelectorAll('#clients tr').length === 1")
    await scene.client.aclose()
    await page.until("document.querySelector('#clients').innerText.includes('none')")
    await page.ask("Date.now = () => performance.timeOrigin + performance.now() + 50000")
    await anyio.sleep(1.5)
    assert await page.ask("document.querySelectorAll('#clients tr').length") == 1
    await page.ask("Date.now = () => performance.timeOrigin + performance.now() + 65000")
    await page.until("document.querySelectorAll('#clients tr').length === 0")


async def test_client_numbers_do_not_wrap(scene: Scene) -> None:
    for number in range(1200):
        scene.state.clients.record_request({"x-launchdarkly-instance-id": str(number), "user-agent": "x" * 200}, "")
    cell = "document.querySelector('#clients tr[data-key=\"1200\"] td')"
    await scene.page.until(cell)
    lines = f"(() => {{ const r = document.createRange(); r.selectNodeContents({cell}); return r.getClientRects().length; }})()"
    assert await scene.page.ask(lines) == 1


async def test_the_page_loads_without_an_error(scene: Scene) -> None:
    page = scene.page
    await page.open("about:blank")
    await page.record_errors()
    await page.open(f"{scene.serving.url}/#token={TOKEN}")
    await page.until("document.body.dataset.connection === 'live' && document.querySelector('#flags li')")
    assert page.errors == []


async def test_long_texts_stay_within_the_page(scene: Scene) -> None:
    long = "x" * 2000
    rule = {"variation": 0, "clauses": [{"attribute": long, "op": "in", "values": [long]}]}
    scene.state.put(long, {**FLAG, "variations": [long, "old"], "rules": [rule]})
    scene.state.override(long, long, long)
    await scene.page.until("document.querySelectorAll('#flags > li').length === 2 && document.querySelector('#overrides li')")
    assert await scene.page.ask("document.documentElement.scrollWidth <= innerWidth")


async def test_empty_lists_show_a_hint() -> None:
    async with serve(create_app(ServerState.of({}), token=TOKEN)) as serving, browse() as page:
        await page.open(f"{serving.url}/#token={TOKEN}")
        await page.until("document.body.dataset.connection === 'live'")
        lists = ("flags", "segments", "faults", "clients", "events")
        hints = [await page.ask(f"getComputedStyle(document.querySelector('#{name}'), '::before').content") for name in lists]
        assert hints == [
            '"No matching flags."',
            '"No matching segments."',
            '"No active faults."',
            '"No clients."',
            '"No events."',
        ]
        await page.until("document.querySelector('#summary').innerText === 'version 1 · 0 flags · 0 segments'")


async def test_texts_are_not_interpreted_as_html(scene: Scene) -> None:
    scene.state.put(
        "<img src=x onerror=alert(1)>", {"on": True, "variations": ["<script>alert(1)</script>"], "fallthrough": {"variation": 0}}
    )
    await scene.page.until("document.querySelectorAll('#flags > li').length === 2")
    assert await scene.page.ask("document.querySelectorAll('main img, main script').length") == 0


async def test_the_page_reports_a_lost_server_and_reconnects() -> None:
    state = ServerState.of({"flags": {"checkout": FLAG}})
    async with browse() as page:
        async with serve(create_app(state, token=TOKEN)) as serving:
            await page.open(f"{serving.url}/#token={TOKEN}")
            await page.until("document.body.dataset.connection === 'live'")
            assert "token" not in await page.ask("location.href")
        await page.until("document.querySelector('#connection').innerText.startsWith('The server cannot be reached.')")
        async with serve(create_app(state, token=TOKEN), port=serving.port):
            await page.until("document.body.dataset.connection === 'live'")
        async with serve(create_app(state, token="another"), port=serving.port):
            await page.until("document.querySelector('#connection').innerText.includes('Open the address that the server printed')")


async def test_the_page_shows_flags_in_flagds_format() -> None:
    flag = {"state": "ENABLED", "variants": {"on": "new", "off": "old"}, "defaultVariant": "off", "targeting": {"var": "plan"}}
    state = ServerState.of({"flags": {"checkout": flag}})
    async with serve(create_app(state, token=TOKEN)) as serving, browse() as page:
        await page.open(f"{serving.url}/#token={TOKEN}")
        await page.until("document.querySelector('#flags li') && document.querySelector('#fault-on input')")
        await page.until(f"document.querySelector({json.dumps(ITEM)}).innerText.includes('all other contexts → off: \"old\"')")
        await page.until("document.querySelector('#override').hidden && document.querySelector('#segments').hidden")
        # Only the endpoints that are served can have faults.
        await page.until("document.querySelector('#fault-on').innerText.trim() === '/ofrep/v1/evaluate/flags'")
        await page.write("#ask-flag", "checkout")
        await page.write("#ask-context", '{"plan": "on"}')
        await page.act("#ask button")
        await page.until("document.querySelector('#answer').innerText.startsWith('\"new\" — the rule chose this variant')")
        await page.act(f"{ITEM} [data-act=flip]", "Space")
        await page.until(f"document.querySelector({json.dumps(ITEM)}).innerText.includes('is disabled')")
        assert state.document()["flags"]["checkout"]["state"] == "DISABLED"
