"""Files: regular ones are read, private ones replaced."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, Events, Http
from aioflags.devserver import FlagFile, ServerState, watch
from aioflags.model.change import ObjectKind
from aioflags.runtime.files import read_regular, replace_file, replace_private_file
from aioflags.sources import FileSource
from aioflags.sources.file import Files, Texts, follow
from tests.support.canaries import secretive
from tests.support.edited_files import Edit, make_fifo, make_folder, remove, values, write, writing
from tests.support.forks import succeeds_in_a_child

USER = secretive("anna")
IN_TIME = 30
"""Seconds after which a test that hangs fails. A machine may be busy."""


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


NOT_REGULAR = [
    pytest.param(make_fifo, "expected a regular file, got a FIFO", id="a FIFO"),
    pytest.param(make_folder, "Is a directory", id="a directory"),
    pytest.param(device, "expected a regular file, got a character device", id="a device without an end"),
    pytest.param(listening, "expected a regular file, got a socket", id="a socket"),
]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The name of a file. Short, since the name of a socket has a limit."""
    monkeypatch.chdir(tmp_path)
    return Path("flags.json")


# -- the function


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.parametrize(("make", "problem"), NOT_REGULAR)
def test_reading_refuses_a_file_that_is_not_regular(path: Path, make: Edit, problem: str) -> None:
    make(path)
    with pytest.raises(OSError, match=problem) as raised:
        read_regular(path)
    assert (raised.value.filename, raised.value.strerror) == (str(path), problem)


class Swapped(type(Path())):  # type: ignore[misc]  # the class of paths on this platform
    """A path of a regular file that becomes a FIFO as soon as its type was checked."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        status: os.stat_result = super().stat(follow_symlinks=follow_symlinks)
        self.unlink()
        os.mkfifo(self)
        return status


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_reading_refuses_a_file_that_is_replaced_by_a_fifo_before_it_is_opened(path: Path) -> None:
    path.write_bytes(b"text")
    with pytest.raises(OSError, match="expected a regular file, got a FIFO"):
        read_regular(Swapped(path))


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_reading_follows_links(path: Path) -> None:
    path.with_name("there").write_bytes(b"text")
    path.symlink_to("there")
    assert read_regular(path) == b"text"


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.parametrize(
    ("size", "is_read"), [pytest.param(10, True, id="of the limit"), pytest.param(11, False, id="a byte larger")]
)
def test_a_file_has_a_largest_size(path: Path, size: int, is_read: bool) -> None:
    path.write_bytes(b"x" * size)
    if is_read:
        assert len(read_regular(path, limit=10)) == size
    else:
        with pytest.raises(OSError, match="larger than 10 bytes"):
            read_regular(path, limit=10)


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_with_a_reported_size_of_0_is_read() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert read_regular(Path("/proc/self/status")).startswith(b"Name:")


# -- clients


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.parametrize(("make", "problem"), NOT_REGULAR)
async def test_a_local_client_does_not_start_from_a_file_that_is_not_regular(path: Path, make: Edit, problem: str) -> None:
    make(path)
    with anyio.fail_after(IN_TIME), pytest.raises(ConfigError, match=problem):
        await Client.local(path).start(start_wait=1)


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.slow
@pytest.mark.parametrize(("make", "problem"), NOT_REGULAR)
@pytest.mark.parametrize("option", ["ca_certs", "cert_file"])
async def test_a_certificate_is_not_read_from_a_file_that_is_not_regular(path: Path, make: Edit, problem: str, option: str) -> None:
    make(path)
    http = Http(ca_certs=str(path)) if option == "ca_certs" else Http(cert_file=str(path))
    with anyio.fail_after(IN_TIME):
        async with Client("sdk-key", Config(http=http, start_wait=1, events=Events(send_events=False))) as client:
            error = client.report.last_error
    assert error is not None
    assert option in error.message
    assert problem in error.message


STARTS = """
import asyncio, sys, time
from pathlib import Path
from aioflags import *
from aioflags.sources import FileSource
from aioflags.stores import DiskStore

CLIENTS = {
    "local": lambda path: Client.local(path),
    "file source": lambda path: Client("", Config(data_system=DataSystem.custom(synchronizers=[FileSource(path)]))),
    "initializer": lambda path: Client("", Config(data_system=DataSystem.custom(initializers=[FileSource(path)]))),
    "disk store": lambda path: Client("", Config(data_system=DataSystem.daemon(DiskStore(path)))),
    "certificates": lambda path: Client("k", Config(http=Http(ca_certs=path), events=Events(send_events=False))),
}

async def main(which, path):
    client = CLIENTS[which](path)
    try:
        await client.start(start_wait=1)
    except ConfigError:
        pass
    await client.aclose()

asyncio.run(main(*sys.argv[1:]))
print("ended")
"""


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.slow
@pytest.mark.parametrize("which", ["local", "file source", "initializer", "disk store", "certificates"])
def test_start_and_the_end_of_the_process_come_in_time_with_a_fifo_for_a(path: Path, which: str) -> None:
    make_fifo(path)
    command = [sys.executable, "-c", STARTS, which, str(path.absolute())]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=2 * IN_TIME, cwd=Path(__file__).parents[2])
    assert ran.stdout == "ended\n"


# -- files that are followed


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.parametrize("notified", [True, False], ids=["with notifications of the system", "by polling"])
@pytest.mark.parametrize("make", [make_fifo, make_folder, device, listening])
async def test_a_followed_file_is_read_again_after_it_was(path: Path, make: Edit, notified: bool) -> None:
    await asyncio.to_thread(write, path, values(f=1))
    files = Files([path])
    await files.read_in_time()
    async with aclosing(follow(files, interval=0.05, notified=notified)) as edits:
        with anyio.fail_after(IN_TIME):
            await asyncio.to_thread(_put_in_place, path, make)
            assert isinstance(await _edit(edits), OSError)
            await asyncio.to_thread(_put_in_place, path, writing(values(f=2)))
            assert await _edit(edits) == b'{"flagValues": {"f": 2}}'


async def _edit(edits: AsyncGenerator[Texts | OSError, None]) -> bytes | OSError:
    """The next edit, without the moment at which no file was there."""
    async for edit in edits:
        if not isinstance(edit, FileNotFoundError):
            return edit if isinstance(edit, OSError) else edit[0][1]
    raise AssertionError("the edits have ended")


def _put_in_place(path: Path, make: Edit) -> None:
    remove(path)
    make(path)


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
async def test_a_client_serves_its_flags_while_its_file_is_a_fifo_and_follows_the_next_file(path: Path) -> None:
    write(path, values(f=1))
    source = FileSource(path, interval=0.05, notified=False)
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source]))) as client:
        with anyio.fail_after(IN_TIME):
            await asyncio.to_thread(_put_in_place, path, make_fifo)
            while client.report.last_error is None:
                await anyio.sleep(0.01)
            assert "got a FIFO" in client.report.last_error.message
            assert await client.variation("f", USER, 0) == 1
            await asyncio.to_thread(_put_in_place, path, writing(values(f=2)))
            while await client.variation("f", USER, 0) != 2:
                await anyio.sleep(0.01)


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.slow
async def test_the_development_server_serves_the_last_flags_while_its_file_is_a_fifo_and_follows_the_next_file(
    path: Path,
) -> None:
    write(path, values(f=1))
    file = FlagFile(path)
    state = ServerState(file.objects(await asyncio.to_thread(file.text)))
    reports: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, file, state, reports.append)
        with anyio.fail_after(IN_TIME):
            await asyncio.to_thread(_put_in_place, path, make_fifo)
            while not any("got a FIFO; serving what was in it" in line for line in reports):
                await anyio.sleep(0.01)
            await asyncio.to_thread(_put_in_place, path, writing(values(f=2)))
            while b"2" not in bytes(state.live(ObjectKind.FLAG)[0].body or b""):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


# -- commands


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["lint", "{}"], id="lint"),
        pytest.param(["evaluate", "{}", "f", "--context", '{"kind": "user", "key": "u"}'], id="evaluate"),
        pytest.param(["explain", "{}", "f", "--context", '{"kind": "user", "key": "u"}'], id="explain"),
        pytest.param(["watch", "{}"], id="watch"),
        pytest.param(["codegen", "{}"], id="codegen"),
        pytest.param(["codegen", "good.json", "-o", "{}", "--check"], id="codegen --check"),
        pytest.param(["serve", "{}", "--port", "0"], id="serve"),
        pytest.param(["serve", "good.json", "--scenario", "{}", "--port", "0"], id="serve --scenario"),
    ],
)
def test_a_command_ends_with_one_line_about_a_fifo(path: Path, words: list[str]) -> None:
    write(path.with_name("good.json"), values(f=1))
    make_fifo(path)
    command = [sys.executable, "-m", "aioflags", *(word.replace("{}", str(path)) if word == "{}" else word for word in words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * IN_TIME, stdin=subprocess.DEVNULL)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "expected a regular file, got a FIFO" in ran.stderr


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
def test_assert_flags_exist_refuses_a_fifo(path: Path) -> None:
    from aioflags import Flag
    from aioflags.testing import assert_flags_exist

    make_fifo(path)
    with pytest.raises(OSError, match="got a FIFO"):
        assert_flags_exist([Flag("f", default=0)], path)


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")
@pytest.mark.slow
def test_flags_of_a_test_session_are_not_read_from_a_fifo(pytester: pytest.Pytester) -> None:
    os.mkfifo(pytester.path / "flags.json")
    ran = pytester.runpytest_subprocess("--flags-file", "flags.json", timeout=2 * IN_TIME)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["*flags.json: expected a regular file, got a FIFO*"])


# -- replace_file: who can read and write the file afterwards, and what a process that died leaves


GROUP = 4242
MEMBER = 4243


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_an_edit_by_a_member_of_the_group_keeps_group_and_mode() -> None:
    async def edit() -> None:
        os.setgroups([GROUP])
        os.setgid(MEMBER)
        os.setuid(MEMBER)
        await asyncio.to_thread(replace_file, edited, b"new")

    with TemporaryDirectory() as folder:  # pytest's folders are closed to other users
        edited = Path(folder) / "o.json"
        edited.write_text("old")
        os.chown(edited, 0, GROUP)
        edited.chmod(0o660)
        edited.parent.chmod(0o777)
        assert succeeds_in_a_child(edit)
        status = edited.stat()
        assert (edited.read_text(), status.st_uid, status.st_gid) == ("new", MEMBER, GROUP)
        assert stat.S_IMODE(status.st_mode) == 0o660


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_root_keeps_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    os.chown(path, MEMBER, GROUP)
    replace_file(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (MEMBER, GROUP)


@pytest.mark.parametrize(
    ("name", "age", "is_removed"),
    [
        pytest.param(".o.json.0123456789abcdef.tmp", 700, True, id="ours, ten minutes old"),
        pytest.param(".o.json.0123456789abcdef.tmp", 60, False, id="ours, a minute old"),
        pytest.param(".o.json.notes.tmp", 700, False, id="another program's"),
    ],
)
def test_a_file_of_a_process_that_died_is_removed(name: str, age: float, is_removed: bool, tmp_path: Path) -> None:
    (tmp_path / ".o.json.00000000000000ff.tmp").mkdir()  # cannot be removed like a file
    left = tmp_path / name
    left.write_text("half")
    then = left.stat().st_mtime - age
    for each in tmp_path.iterdir():
        os.utime(each, (then, then))
    replace_file(tmp_path / "o.json", b"new")
    assert left.exists() is not is_removed


def test_a_link_to_itself_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.symlink_to(path)
    with pytest.raises(OSError, match=r"o\.json"):
        replace_file(path, b"new")


class _WindowsError(PermissionError):
    winerror = 5


class _ReplaceFails:
    """The ``os`` module, whose ``replace`` raises these errors before it works."""

    def __init__(self, *errors: PermissionError) -> None:
        self.errors = list(errors)

    open, write, fsync, close = staticmethod(os.open), staticmethod(os.write), staticmethod(os.fsync), staticmethod(os.close)
    unlink = staticmethod(os.unlink)

    def replace(self, source: Path, target: Path, /) -> None:
        if self.errors:
            raise self.errors.pop()
        source.replace(target)


def test_a_file_that_a_reader_has_open_on_windows_is_replaced_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    replace_private_file(path, b"new", _ReplaceFails(_WindowsError()))
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([_WindowsError() for _ in range(100)], id="on Windows, for too long"),
        pytest.param([PermissionError()], id="on other systems, at once"),
    ],
)
def test_a_file_that_may_not_be_replaced_keeps_its_contents(errors: list[PermissionError], tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    with pytest.raises(PermissionError):
        replace_private_file(path, b"new", _ReplaceFails(*errors))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
