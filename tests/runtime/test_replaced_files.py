"""replace_file: who can read and write the file afterwards, and what a process that died leaves."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aioflags.runtime.files import replace_file, replace_private_file
from tests.support.forks import succeeds_in_a_child

GROUP = 4242
MEMBER = 4243


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_an_edit_by_a_member_of_the_group_keeps_group_and_mode() -> None:
    async def edit() -> None:
        os.setgroups([GROUP])
        os.setgid(MEMBER)
        os.setuid(MEMBER)
        await asyncio.to_thread(replace_file, path, b"new")

    with TemporaryDirectory() as folder:  # pytest's folders are closed to other users
        path = Path(folder) / "o.json"
        path.write_text("old")
        os.chown(path, 0, GROUP)
        path.chmod(0o660)
        path.parent.chmod(0o777)
        assert succeeds_in_a_child(edit)
        status = path.stat()
        assert (path.read_text(), status.st_uid, status.st_gid) == ("new", MEMBER, GROUP)
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
