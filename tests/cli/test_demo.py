"""The output of scenes: for people, for programs, and for a scene that does not happen."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from aioflags.cli.demo import MissedError, Scene, present

pytestmark = pytest.mark.real_time

SCENE = Scene(step="directive", protocol="fdv2", directive=True, ms=12.34, notice="Notice how " + "long " * 30 + "this is.")


async def one_scene(show: Callable[[Scene], None]) -> None:
    show(SCENE)


async def none(show: Callable[[Scene], None]) -> None:
    raise MissedError("flip: it did not happen")


def on_console(*, terminal: bool) -> tuple[list[str], int]:
    text = io.StringIO()
    status = present(one_scene, Console(file=text, force_terminal=terminal, width=80, highlight=False))
    return text.getvalue().splitlines(), status


def test_without_a_terminal_each_scene_is_one_plain_line() -> None:
    lines, status = on_console(terminal=False)
    assert lines[2] == f"directive: fdv2 directive, 12 ms. {SCENE.notice}"
    assert status == 0


def test_a_terminal_shows_columns_and_colours() -> None:
    lines, status = on_console(terminal=True)
    assert "\x1b[1mdirective" in lines[2]
    assert "\x1b[36mFDv2" in lines[2]
    assert "12 ms" in lines[2]
    assert lines[3].startswith(" " * 30)
    assert status == 0


def test_without_a_console_the_output_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert present(one_scene, None) == 0
    assert capsys.readouterr().out.startswith('{"step":"directive","protocol":"fdv2","directive":true,"ms":12.34,"notice":"Notice')


@pytest.mark.parametrize("console", [None, Console(file=io.StringIO())])
def test_a_missed_scene_is_printed_and_sets_the_exit_status(console: Console | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert present(none, console) == 1
    assert capsys.readouterr().err == "aioflags: flip: it did not happen\n"
