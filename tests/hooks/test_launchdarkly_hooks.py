"""Hooks that were written for LaunchDarkly's SDK."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import ldclient
import pytest
from ldclient.integrations.test_data import TestData

from aioflags import Hook
from aioflags.hooks import EvaluationCall, Metadata
from tests.support.hooks import USER, client_with

HOOK_FOR_LAUNCHDARKLY = """
{imports}

class Timing(Hook):
    def __init__(self):
        self.log = []

    @property
    def metadata(self):
        return Metadata(name="timing")

    def before_evaluation(self, series_context: EvaluationSeriesContext, data: dict) -> dict:
        self.log.append(("before", series_context.key, series_context.default_value, series_context.method, dict(data)))
        data["began"] = 1
        return data

    def after_evaluation(self, series_context: EvaluationSeriesContext, data: dict, detail) -> dict:
        self.log.append(("after", series_context.key, series_context.context.key, data, detail.value, detail.variation_index))
        reason = detail.reason
        self.log.append((reason["kind"], reason.get("errorKind"), reason.get("ruleId", "no rule"), "ruleIndex" in reason))
        self.log.append((detail.is_default_value(), series_context.context.fully_qualified_key))
        return {{**data, "ended": 2}}
"""
THEIR_IMPORTS = "from ldclient.hook import EvaluationSeriesContext, Hook, Metadata"
OUR_IMPORTS = "from aioflags.hooks import EvaluationCall as EvaluationSeriesContext, Hook, Metadata"


def hook_for_launchdarkly(imports: str) -> Any:
    names: dict[str, Any] = {}
    exec(HOOK_FOR_LAUNCHDARKLY.format(imports=imports), names)
    return names["Timing"]()


@pytest.mark.parametrize("key", [pytest.param("checkout", id="a value"), pytest.param("unknown", id="the default")])
async def test_a_hook_for_launchdarklys_sdk_needs_no_change_but_its_import(key: str) -> None:
    theirs, ours = hook_for_launchdarkly(THEIR_IMPORTS), hook_for_launchdarkly(OUR_IMPORTS)
    source = TestData.data_source()
    source.update(source.flag("checkout").variation_for_all(True))
    config = ldclient.Config("sdk-key", update_processor_class=source, send_events=False, hooks=[theirs])
    with closing(ldclient.LDClient(config)) as client:
        client.variation(key, ldclient.Context.create("anna"), False)
    async with client_with(ours) as client:
        await client.variation(key, USER, False)
    assert len(ours.log) == 4
    assert ours.log == theirs.log


async def test_the_log_has_the_name_in_a_hooks_metadata(caplog: pytest.LogCaptureFixture) -> None:
    class Named(Hook):
        @property
        def metadata(self) -> Metadata:
            return Metadata(name="from metadata")

        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            raise ValueError(series_context.key)

    async with client_with(Named()) as client:
        await client.variation("checkout", USER, False)
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.getMessage().startswith("hook from metadata: before_evaluation failed")
