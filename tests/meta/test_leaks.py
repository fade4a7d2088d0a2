"""The check for leaks detects each kind, and what a test ends is not a leak."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.real_time

ROOT = Path(__file__).parents[2]

LEAKS = """
    import asyncio, os, socket, threading, time
    import pytest

    kept = []

    async def for_an_hour():
        await asyncio.sleep(3600)

    async def numbers():
        yield 1
        yield 2

    def keep(thing):
        kept.append(thing)
        return thing

    # -- what fails

    async def test_leaves_a_task():
        keep(asyncio.create_task(for_an_hour()))

    async def test_leaves_a_timer():
        asyncio.get_running_loop().call_later(3600, print)

    async def test_leaves_a_generator():
        await anext(keep(numbers()))

    def test_leaves_a_socket():
        keep(socket.socket())

    def test_leaves_an_event_loop():
        keep(asyncio.new_event_loop())

    def test_leaves_a_thread():
        threading.Thread(target=time.sleep, args=(6,), daemon=True).start()

    @pytest.fixture
    async def started():
        yield keep(asyncio.create_task(for_an_hour()))

    async def test_leaves_a_task_of_a_fixture(started):
        pass

    @pytest.fixture
    def opened():
        yield keep(socket.socket())

    async def test_leaves_a_socket_of_a_fixture(opened):
        pass

    @pytest.mark.leaves("tasks", "timers", reason="its thread is what counts")
    def test_leaves_what_its_marker_does_not_name():
        keep(socket.socket())

    # -- what passes

    async def test_ends_everything():
        task, timer = asyncio.create_task(for_an_hour()), asyncio.get_running_loop().call_later(3600, print)
        task.cancel()
        timer.cancel()
        asyncio.get_running_loop().call_soon(print)
        async for number in numbers():
            assert number
        await asyncio.to_thread(time.sleep, 0)
        with socket.socket():
            pass

    def test_has_a_thread_that_is_about_to_end():
        threading.Thread(target=time.sleep, args=(0.2,)).start()

    @pytest.fixture(scope="module")
    def shared():
        with socket.socket() as shared:
            yield shared

    def test_opens_what_others_use_too(shared):
        pass

    @pytest.mark.leaves("tasks", "timers", "descriptors", reason="that is what it tests")
    async def test_says_what_it_leaves():
        keep(socket.socket())
        keep(asyncio.create_task(for_an_hour()))
"""


def inner(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    """An inner run with the same check."""
    pytester.makepyfile(code)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nmarkers = real_time")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_subprocess("-p", "pytest_asyncio.plugin", "-p", "tests.support.leaks", "-q", "-rA", "--color=no")


@pytest.mark.slow
def test_each_kind_of_leak_fails_its_test(pytester: pytest.Pytester) -> None:
    ran = inner(pytester, LEAKS)
    ran.assert_outcomes(passed=LEAKS.count("def test_"), errors=LEAKS.count("def test_leaves"))
    failed = {line.partition("::")[2].split()[0] for line in ran.outlines if line.startswith("ERROR test_")}
    assert {name.startswith("test_leaves") for name in failed} == {True}
    ran.stdout.fnmatch_lines_random(
        ["<Task pending *for_an_hour*", "<TimerHandle *print*", "<async_generator *numbers*", "<Thread(*", "descriptor *: socket:*"]
    )


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        pytest.param("leaves('tasks')", "leaves needs the reason", id="without a reason"),
        pytest.param("leaves('tasks', reason=' ')", "leaves needs the reason", id="with an empty reason"),
        pytest.param("leaves(reason='why')", "leaves needs one of tasks, *", id="of nothing"),
        pytest.param("leaves('files', reason='why')", "leaves needs one of tasks, *", id="of an unknown kind"),
    ],
)
def test_the_marker_is_refused(pytester: pytest.Pytester, marker: str, expected: str) -> None:
    ran = inner(pytester, f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"*test_it: {expected}"])
