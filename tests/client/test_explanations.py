"""The explanations of a client: which context they are for, and where the data came from."""

from __future__ import annotations

import json

import pytest

from aioflags import Client, Config, ConfigError, ErrorKind, use_context
from tests.support.client_flags import DOCUMENT, USER


async def test_an_explanation_has_the_source_and_the_age_of_the_data() -> None:
    async with Client.local(DOCUMENT) as client:
        explanation = await client.explain("checkout", USER)
        assert explanation.detail == await client.variation_detail("checkout", USER)
        assert explanation.origin is not None
        assert (explanation.origin.source, explanation.origin.report) == ("memory", client.report)
        assert explanation.origin.age is not None
        assert str(explanation).splitlines()[-1] == "data from memory, 0 s ago; the client is READY, its source VALID"
        assert json.loads(json.dumps(explanation.to_dict()))["origin"]["source"] == "memory"


async def test_before_the_start_an_explanation_names_the_data_of_the_constructor() -> None:
    explanation = await Client.local(DOCUMENT).explain("checkout", USER)
    assert explanation.detail.value is True
    assert str(explanation.origin).startswith("data from what the client was made with; the client is NOT_READY")


async def test_without_data_an_explanation_says_so() -> None:
    explanation = await Client("sdk-key").explain("checkout", USER)
    assert str(explanation.origin).startswith("no flag data; the client is NOT_READY")
    assert explanation.to_dict()["origin"]["hasData"] is False


async def test_an_explanation_is_for_the_ambient_context_if_the_call_has_none() -> None:
    client = Client.local(DOCUMENT)
    with use_context(USER):
        assert (await client.explain("checkout")).detail.value is True
    assert (await client.explain("checkout")).detail.reason.error_kind is ErrorKind.USER_NOT_SPECIFIED


async def test_an_offline_client_explains_that_it_is_offline() -> None:
    client = Client("", Config(offline=True))
    explanation = await client.explain("checkout", USER)
    assert explanation.detail == await client.variation_detail("checkout", USER)
    assert [step.text for step in explanation.steps] == ["the client is offline, so it has no flag data"]


async def test_explain_raises_for_a_key_that_is_not_a_string() -> None:
    with pytest.raises(ConfigError, match="key: expected a string, got int"):
        await Client.local(DOCUMENT).explain(1, USER)  # type: ignore[arg-type]  # what is tested
