"""The stages of a migration flag: values and defaults that are not stages, hooks, and the ambient context."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aioflags import Client, Config, use_context
from aioflags.migration import Operation, Stage
from tests.migration.migrators import OLD, USER, Systems, document, migrating, ops
from tests.support.canaries import redacted
from tests.support.hooks import RecordingHook


@pytest.mark.parametrize(
    ("key", "evaluation"),
    [
        pytest.param("missing", {"reason": {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}}, id="an unknown flag"),
        pytest.param(
            "word", {"version": 7, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}}, id="a word that is not a stage"
        ),
        pytest.param("number", {"version": 7, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}}, id="not a word"),
        pytest.param("off", {"version": 7, "reason": {"kind": "OFF"}}, id="a flag without a value"),
    ],
)
async def test_a_value_that_is_not_a_stage_becomes_the_default(key: str, evaluation: dict[str, object]) -> None:
    async with migrating("off") as sending:
        stage, tracker = await sending.client.migration_variation(key, USER, "live")
        assert stage is Stage.LIVE
        tracker.operation(Operation.WRITE)
        tracker.invoked(OLD)
        sending.client.track_migration_op(tracker)
        (op,) = await ops(sending)
        assert op["evaluation"] == {"key": key, "value": "live", "default": "live", **evaluation}


@pytest.mark.parametrize(
    ("key", "warnings"),
    [
        pytest.param("word", 1, id="a word that is not a stage"),
        pytest.param("number", 1, id="not a word"),
        pytest.param("move", 0, id="a stage"),
        pytest.param("off", 0, id="a flag without a value"),
        pytest.param("missing", 0, id="an unknown flag"),
    ],
)
@pytest.mark.parametrize("hooks", [pytest.param([], id="without hooks"), pytest.param([RecordingHook()], id="with hooks")])
async def test_a_value_that_is_not_a_stage_is_logged_once_for_each_flag(
    key: str, warnings: int, hooks: list[RecordingHook], caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.local(document("live"), Config(hooks=hooks)) as client:
        for _ in range(3):
            await client.migration_variation(key, USER, Stage.OFF)
    logged = [record for record in caplog.records if "not a migration stage" in record.msg]
    assert [(record.levelno, record.args) for record in logged] == [
        (logging.WARNING, (key, "off, dualwrite, shadow, live, rampdown, complete"))
    ] * warnings


@pytest.mark.parametrize("default", ["sideways", "", None, 3])
async def test_a_default_that_is_not_a_stage_becomes_off(default: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local(document("live")) as client:
        stage, _ = await client.migration_variation("missing", USER, default)
    assert stage is Stage.OFF
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error == f"migration missing: the default {default!r} is not a stage; using off"


@pytest.mark.holds("CS-C10")
async def test_hooks_get_the_stage() -> None:
    hook = RecordingHook()
    async with Client.local(document("shadow"), Config(hooks=[hook])) as client:
        assert (await client.migration_variation("word", USER, Stage.LIVE))[0] is Stage.LIVE
        assert (await client.migration_variation("move", USER, Stage.LIVE))[0] is Stage.SHADOW
    assert [(call.key, call.method, call.default_value) for call in hook.calls] == [
        ("word", "migration_variation", "live"),
        ("move", "migration_variation", "live"),
    ]
    wrong, right = hook.details
    assert (wrong.value, wrong.variation_index, wrong.reason.to_dict()) == (
        "live",
        None,
        {"kind": "ERROR", "errorKind": "WRONG_TYPE"},
    )
    assert (right.value, right.variation_index) == ("shadow", 2)


async def test_the_ambient_context_is_used() -> None:
    async with migrating("complete") as sending:
        with use_context(USER):
            await Systems().migrator(sending.client).read("move", None, Stage.OFF, None)
        (op,) = await ops(sending)
        assert op["context"] == redacted("anna")


async def test_a_configured_default_stage_replaces_that_of_the_call() -> None:
    async with Client.local(document("off"), Config(defaults={"missing": "live", "odd": "sideways"})) as client:
        assert (await client.migration_variation("missing", USER, Stage.OFF))[0] is Stage.LIVE
        assert (await client.migration_variation("odd", USER, Stage.SHADOW))[0] is Stage.SHADOW
