"""The guide's tests pass in a project that has copied them, and its other lines run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import aioflags.testing
from aioflags import Context
from aioflags.client_core.overrides import OVERRIDES
from aioflags.devserver import Fault
from aioflags.testing import EventRecorder, FlagChangeLog, FlagOverrides, FlagRecorder, FlagsService, MemoryClient, VirtualTimeLoop

pytestmark = pytest.mark.real_time

GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
FIRST, FLAGS, OVERRIDES_EXAMPLE, IN_TASK, OF_FLAGD, RECORDER, CHANGES, EVENTS, *MORE, LOOPS = BLOCKS
OUTAGE, FLAGD, MOBILE, PROXY, TOXIC, SCHEDULE = MORE
(SETTINGS,) = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
ANNA = Context("anna")


async def run(block: str, **names: Any) -> dict[str, Any]:
    """The names that a block defines. The block may await at its top level."""
    found = {"ANNA": ANNA, **names}
    code = compile(block, "testing.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if (awaited := FunctionType(code, found)()) is not None:
        await awaited
    return found


@pytest.mark.slow
def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(SETTINGS)
    pytester.makepyfile(f"{FIRST}\n\n{OF_FLAGD}\n\n{OUTAGE}\n\n{FLAGD}\n\n{MOBILE}\n\n{PROXY}\n\n{TOXIC}\n\n{SCHEDULE}")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error").assert_outcomes(passed=11)


async def test_flags_are_set_as_shown() -> None:
    flags = MemoryClient()
    await run(FLAGS, flags=flags)
    assert [flags.variation_nowait("new-checkout", user, None) for user in (ANNA, Context("bert"))] == [True, False]


async def test_overrides_are_written_as_shown() -> None:
    with FlagOverrides().in_force() as flag_overrides:
        await run(OVERRIDES_EXAMPLE, flag_overrides=flag_overrides)
        assert dict(flag_overrides) == {}
    await run(IN_TASK)


async def test_the_recorder_is_used_as_shown() -> None:
    recorder = FlagRecorder()
    with OVERRIDES.observed(recorder):
        MemoryClient({"flagValues": {"new-checkout": True}}).variation_nowait("new-checkout", ANNA, False)
    await run(RECORDER, flag_recorder=recorder)


async def test_changes_are_followed_as_shown() -> None:
    log, client = FlagChangeLog(), MemoryClient()
    changing = run(CHANGES, flag_changes=log, client=client)
    log.follow(client)
    client.set("theme", "dark")
    await changing


async def test_events_are_asserted_as_shown() -> None:
    recorder, client = EventRecorder(), MemoryClient()
    with OVERRIDES.events_observed(recorder):
        client.track("purchase", ANNA, {"items": 2}, 9.5)
        client.identify(ANNA)
    await run(EVENTS, flag_events=recorder)


async def test_a_fault_is_injected_as_shown() -> None:
    (line,) = re.findall(r"`(inject\(Fault\(kind=\"status\", status=.*?\)\))`", GUIDE)
    async with FlagsService() as service:
        number = eval(line, {"inject": service.inject, "Fault": Fault})
        assert [fault.number for fault in service.state.faults.in_effect] == [number]


@pytest.mark.parametrize(
    ("marker", "loop"), [pytest.param(None, VirtualTimeLoop, id="virtual"), pytest.param("real_time", None, id="real")]
)
async def test_the_hook_chooses_the_loop(marker: str | None, loop: type | None) -> None:
    class Item:
        def get_closest_marker(self, name: str) -> object:
            return marker if marker == name else None

    hook = (await run(LOOPS))["pytest_asyncio_loop_factories"]
    (factory,) = hook(None, Item()).values()
    assert (factory is VirtualTimeLoop) is (loop is VirtualTimeLoop)


def test_every_fixture_marker_and_option_is_in_the_guide() -> None:
    package = Path(aioflags.testing.__file__).parent
    plugin, fixtures = ((package / name).read_text(encoding="utf-8") for name in ("plugin.py", "fixtures.py"))
    names = re.findall(r"\"(--[a-z-]+|aioflags_\w+)\"", plugin) + re.findall(r"^def ((?:mobile_)?flag\w+)", fixtures, re.MULTILINE)
    assert len(names) > 8
    assert [name for name in names if not re.search(rf"[`.]{name}\b", GUIDE)] == []
