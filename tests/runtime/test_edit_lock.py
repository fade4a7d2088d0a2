"""edit_lock: the second edit waits for the first one, for a limited time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aioflags.cli.override import edit_lock


def test_a_second_edit_waits_until_the_first_one_has_ended(tmp_path: Path) -> None:
    file, order = tmp_path / "f", list[str]()

    def second() -> None:
        with edit_lock(file):
            order.append("second")

    thread = threading.Thread(target=second)
    with edit_lock(file):
        thread.start()
        with pytest.raises(OSError, match="another program has been editing in this folder for 0 s"), edit_lock(file, max_wait=0):
            raise AssertionError
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_link_and_its_target_share_the_lock(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/f")
    with edit_lock(link), pytest.raises(OSError, match="another program"), edit_lock(tmp_path / "folder" / "f", max_wait=0):
        raise AssertionError


def test_a_folder_that_does_not_exist_is_not_locked(tmp_path: Path) -> None:
    with edit_lock(tmp_path / "no" / "f"):
        pass
    assert list(tmp_path.iterdir()) == []
