"""OverridesSession: what it publishes and logs as files are written, broken, mended and removed."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.evaluation.overrides import Overrides
from aioflags.model.override_options import FileOverrides
from aioflags.model.status import OverridesStatus
from aioflags.persistence.file_overrides import OverridesSession
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from tests.support.edited_files import make_fifo, make_folder, make_huge, remove, values, write, writing

LOGGER = logging.getLogger("aioflags")


def swap(link: Path, target: str) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "o.json", values(a=1))


class Run:
    """A session, and what it published."""

    def __init__(self, *paths: Path, thread: SerialThread | None = None, **options: Any) -> None:
        self.published: list[dict[str, Any]] = []
        settings: dict[str, Any] = {"watch": False, "poll_interval": 1, **options}
        self.session = OverridesSession(FileOverrides(paths, **settings), self.publish, LOGGER, thread=thread)

    async def publish(self, overrides: Overrides) -> None:
        values = {key: (flag.variations or (None,))[0] for key, flag in overrides.flags.items()}
        self.published.append({**values, **dict.fromkeys(overrides.segments, "segment")})

    @property
    def status(self) -> OverridesStatus:
        return self.session.status

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        await self.session.load()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.session.run)
            yield
            tasks.cancel_scope.cancel()


async def settle() -> None:
    """Several polls."""
    await anyio.sleep(10)


# -- at the start


async def test_the_overrides_are_published_before_the_load_ends(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(file)
    with caplog.at_level(logging.INFO):
        await run.session.load()
    assert run.published == [{"a": 1}]
    assert run.status.flags == {"a": str(file)}
    assert run.status.since is not None
    assert caplog.messages == [f"overrides: in effect: a ({file})"]


@pytest.mark.holds("DS-161")
async def test_files_that_do_not_exist_override_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path / "no.json", tmp_path / "no" / "folder.json")
    with caplog.at_level(logging.INFO):
        async with run.running():
            await settle()
    assert run.published == []
    assert run.status == OverridesStatus()
    assert caplog.messages == [f"overrides: none in effect; read from {tmp_path / 'no.json'}, {tmp_path / 'no' / 'folder.json'}"]


async def test_one_file_may_be_missing_beside_another(file: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "no.json", file)
    await run.session.load()
    assert run.published == [{"a": 1}]


async def test_without_watch_and_poll_the_files_are_read_once(file: Path) -> None:
    run = Run(file, watch=False, poll_interval=None)
    async with run.running():
        write(file, values(a=2))
        await settle()
    assert run.published == [{"a": 1}]


async def test_many_overrides_are_not_all_named_in_the_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, {**values(**{f"f{number:02}": number for number in range(30)}), "segments": {"s": {}}})
    with caplog.at_level(logging.INFO):
        await Run(file).session.load()
    (message,) = caplog.messages
    assert message.endswith(f"f19 ({file}) and 11 more")


# -- as files change


async def test_edits_are_published_once_each_and_logged_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(file)
    async with run.running():
        caplog.clear()
        with caplog.at_level(logging.INFO):
            write(file, values(a=2, b=1))
            await settle()
            write(file, json.dumps(values(a=2, b=1), indent=4))  # nothing new
            await settle()
            write(file, "{}")
            await settle()
    assert run.published == [{"a": 1}, {"a": 2, "b": 1}, {}]
    assert caplog.messages == [f"overrides: in effect: a ({file}), b ({file})", f"overrides: none in effect; read from {file}"]
    assert (run.status.flags, run.status.problem) == ({}, None)


@pytest.mark.holds("DS-163")
async def test_a_removed_file_removes_its_overrides_and_a_new_one_brings_them_back(file: Path) -> None:
    run = Run(file)
    async with run.running():
        remove(file)
        await settle()
        write(file, values(a=3))
        await settle()
    assert run.published == [{"a": 1}, {}, {"a": 3}]


async def test_an_override_that_moves_to_another_file_is_reported_with_that_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    run = Run(file, other, on_duplicate="ignore")
    async with run.running():
        write(other, values(a=1))
        remove(file)
        await settle()
    assert run.status.flags == {"a": str(other)}


@pytest.fixture
def config_map(tmp_path: Path) -> Path:
    """A link whose target is swapped, as Kubernetes does for a config map; and a link to a file behind it."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        write(tmp_path / f"v{number}" / "o.json", values(a=number))
    data = tmp_path / "..data"
    data.symlink_to("v1")
    (tmp_path / "o.json").symlink_to("..data/o.json")
    return data


async def test_a_swapped_link_is_followed(config_map: Path) -> None:
    data = config_map
    run = Run(data.with_name("o.json"))
    async with run.running():
        swap(data, "v2")
        await settle()
    assert run.published == [{"a": 1}, {"a": 2}]


# -- bad input


HALF = '{"flagValues"'
OF_FLAGD = {"flags": {"a": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}}, "metadata": {}}


def loop_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")


BAD = [
    pytest.param(writing(HALF), "line 1, column 14: the JSON ends too early", id="half-written"),
    pytest.param(writing(""), "the file is empty; {} overrides nothing", id="empty"),
    pytest.param(make_fifo, "expected a regular file, got a FIFO", id="a FIFO"),
    pytest.param(make_folder, "Is a directory", id="a folder"),
    pytest.param(make_huge, "larger than 536870912 bytes", id="huge"),
    pytest.param(loop_links, "Too many levels of symbolic links", id="a link to itself"),
    pytest.param(
        link_to_unreadable,
        "Input/output error",
        marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux has a regular file that even root cannot read"),
        id="unreadable",
    ),
    pytest.param(
        writing({"flags": {"a": {"on": "yes"}}}),
        "flags.a.on: expected boolean or null, got string",
        id="a flag that makes no sense",
    ),
    pytest.param(writing(OF_FLAGD), "metadata: unknown property: expected flags, flagValues or segments", id="a file of flagd"),
    pytest.param(
        writing({"flag_values": {"a": 2}}), 'flag_values: unknown property, did you mean "flagValues"?', id="an unknown key"
    ),
    pytest.param(
        writing({"flags": {"a": {"on": True}}, "flagValues": {"a": 2}}),
        "flagValues.a: this flag is in flags, too",
        id="a flag twice",
    ),
]


@pytest.mark.holds("DS-162")
@pytest.mark.parametrize(("spoil", "problem"), BAD)
async def test_a_file_that_cannot_be_used_keeps_the_overrides_from_before(
    file: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], problem: str
) -> None:
    run = Run(file)
    async with run.running():
        caplog.clear()
        with caplog.at_level(logging.INFO):
            spoil(file)
            await settle()
            await settle()
            assert run.published == [{"a": 1}]
            assert run.status.flags == {"a": str(file)}
            assert run.status.problem is not None
            assert run.status.problem.message == f"{file}: {problem}"
            assert caplog.messages == [f"overrides: {file}: {problem}; the overrides from before stay in effect"]
            assert [record.levelname for record in caplog.records] == ["ERROR"]
            remove(file)
            write(file, values(a=2))
            await settle()
    assert run.published == [{"a": 1}, {"a": 2}]
    assert run.status.problem is None
    assert caplog.messages[1:] == [f"overrides: in effect: a ({file})"]


@pytest.mark.parametrize(("spoil", "problem"), BAD)
async def test_a_file_that_cannot_be_used_at_the_start_overrides_nothing_until_it_is_mended(
    file: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], problem: str
) -> None:
    spoil(file)
    run = Run(file)
    async with run.running():
        await settle()
        assert run.published == []
        assert caplog.messages == [f"overrides: {file}: {problem}; no overrides are in effect"]
        remove(file)
        write(file, values(a=2))
        await settle()
    assert run.published == [{"a": 2}]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_permission_to_read_keeps_the_overrides_from_before(file: Path) -> None:
    run = Run(file)
    async with run.running():
        os.chmod(file, 0)  # noqa: PTH101 -- Path.chmod counts as blocking
        await settle()
        assert run.status.problem is not None
        assert run.status.problem.message == f"{file}: Permission denied"
    assert run.published == [{"a": 1}]


async def test_the_same_contents_after_a_mistake_are_no_news(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(file)
    async with run.running():
        write(file, HALF)
        await settle()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            write(file, values(a=1))
            await settle()
    assert run.published == [{"a": 1}]
    assert run.status.problem is None
    assert caplog.messages == [f"overrides: the files can be used again; in effect: a ({file})"]


async def test_a_mistake_in_one_file_keeps_the_overrides_of_all_files(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.json", values(b=1))
    run = Run(file, other)
    async with run.running():
        write(file, HALF)
        write(other, values(b=2))
        await settle()
        assert run.published == [{"a": 1, "b": 1}]
        write(file, values(a=2))
        await settle()
    assert run.published == [{"a": 1, "b": 1}, {"a": 2, "b": 2}]


async def test_a_key_that_a_second_file_gets_fails_and_recovers(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    run = Run(file, other)
    async with run.running():
        write(other, values(a=2))
        await settle()
        assert run.published == [{"a": 1}]
        assert run.status.problem is not None
        assert run.status.problem.message == f'{other}: flag "a" is in {file}, too'
        remove(other)
        await settle()
    assert run.published == [{"a": 1}]
    assert run.status.problem is None


async def test_an_internal_error_is_logged_and_raises_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Overrides) -> None:
        raise RuntimeError("bug")

    session = OverridesSession(FileOverrides(file, watch=False), fail, LOGGER)
    await session.load()
    await session.run()
    assert caplog.messages == ["stopped reading override files after an internal error (please report)"] * 2


@pytest.mark.parametrize("calls", [pytest.param(1, id="to look at the file"), pytest.param(2, id="to read its text")])
async def test_without_a_thread_the_overrides_from_before_stay_until_there_is_one(
    calls: int, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The system may limit threads: a file is followed again as soon as one can be started."""

    class ScarceThread(SerialThread):
        left = 100

        async def run(self, *arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise ThreadStartError(errno.EAGAIN, "can't start new thread")
            return await super().run(*arguments, **options)

    thread = ScarceThread("test")
    run = Run(file, thread=thread, watch=False)
    async with run.running():
        caplog.clear()
        write(file, values(a=2))
        thread.left = calls - 1
        await settle()
        assert run.published == [{"a": 1}]
        assert run.status.problem is not None
        thread.left = 100
        await settle()
    assert run.published == [{"a": 1}, {"a": 2}]
    assert run.status.problem is None
    (line,) = caplog.messages
    assert line.endswith("can't start new thread; the overrides from before stay in effect")


async def test_yaml_without_its_package_is_a_problem_and_not_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    file = write(tmp_path / "o.yaml", "flagValues: {a: 1}")
    run = Run(file)
    await run.session.load()
    assert caplog.messages == [
        f'overrides: {file}: reading YAML needs PyYAML: pip install "aioflags[yaml]"; no overrides are in effect'
    ]


@pytest.mark.real_time  # virtual time waits for threads
async def test_files_that_hang_delay_a_start_for_a_limited_time_and_are_read_later(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thread, released = SerialThread("test"), threading.Event()
    run = Run(file, thread=thread)
    hanging = asyncio.create_task(thread.run(lambda: released.wait(60)))
    await asyncio.sleep(0)
    try:
        with anyio.fail_after(30):
            await run.session.load(0.05)
        assert caplog.messages == ["overrides: the files were not read within 0.05 s; starting without them"]
        assert (run.published, run.session.is_read) == ([], False)
    finally:
        released.set()
        await hanging
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.session.run)
        with anyio.fail_after(30):
            while not run.published:
                await asyncio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert run.published == [{"a": 1}]


# -- restarts


async def test_a_second_load_reads_the_files_again(file: Path) -> None:
    run = Run(file)
    async with run.running():
        await settle()
    write(file, values(a=2))
    async with run.running():
        assert run.published == [{"a": 1}, {"a": 2}]
