"""Several environments of one client: what the log, results and hooks say of each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from aioflags.errors import LifecycleError
from aioflags.hooks import Hook, IdentifyCall
from aioflags.mobile.client import MobileClient
from aioflags.model.status import IdentifyStatus
from tests.support.canaries import KEY
from tests.support.mobile_service import BEN, REFUSED, SILENT, UP_TO_DATE, Hit, MobileService, mobile_client, named
from tests.support.scripted_http import Answer

OTHER = f"{KEY}-2"
FURTHER: dict[str, Any] = {"secondary_mobile_keys": {"beta 100%": OTHER}}


def for_the_other(answer: Any, own: Any) -> Callable[[Hit], Answer]:
    def chosen(hit: Hit) -> Answer:
        made = answer if hit.request.headers["authorization"] == OTHER else own
        return made if isinstance(made, Answer) else made(hit)

    return chosen


def with_a_bad_environment(answer: Answer, **options: Any) -> MobileClient:
    poll, stream = for_the_other(answer, named("poll")), for_the_other(answer, UP_TO_DATE)
    return mobile_client(MobileService(poll=[poll], stream=[stream]), **FURTHER, **options)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        pytest.param(REFUSED, IdentifyStatus.ERROR, "environment beta 100%: the service answered 401", id="refused"),
        pytest.param(SILENT, IdentifyStatus.TIMEOUT, "environment beta 100%: no flags within", id="silent"),
    ],
)
async def test_the_error_of_a_result_names_the_environment(answer: Answer, status: IdentifyStatus, error: str) -> None:
    client = with_a_bad_environment(answer)
    for result in (await client.start(), await client.identify(BEN)):
        assert (result.status, str(result.error)[: len(error)]) == (status, error)
    await client.aclose()


async def test_the_error_of_the_client_itself_has_no_name() -> None:
    client = mobile_client(MobileService(poll=[REFUSED], stream=[REFUSED]), **FURTHER)
    assert str((await client.start()).error).startswith("the service answered 401")
    await client.aclose()


async def test_the_log_names_a_further_environment(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aioflags")
    async with with_a_bad_environment(REFUSED) as client:
        client.environment("beta 100%").variation("f", "")
        await anyio.sleep(1)
    further = [message for message in caplog.messages if message.startswith("environment beta 100%: ")]
    assert [message.removeprefix("environment beta 100%: ")[:24] for message in further] == [
        "no data source is left; ",
        "started: ERROR, no flag ",
        "f: there is no flag data",
        "closed",
    ]
    assert {record.name for record in caplog.records} == {"aioflags"}
    assert [message for message in caplog.messages if message not in further][-1] == "closed"


async def test_the_logger_of_the_program_decides_what_a_further_environment_logs(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("program.flags")
    logger.setLevel("ERROR")
    async with with_a_bad_environment(REFUSED, logger=logger):
        logger.addFilter(dropped := lambda record: record.levelno > logging.ERROR)
        await anyio.sleep(1)
    logger.removeFilter(dropped)
    assert [(record.name, record.levelname) for record in caplog.records] == [("program.flags", "ERROR")]


async def test_a_hook_knows_the_environment() -> None:
    class Recording(Hook):
        def before_identify(self, series_context: IdentifyCall, data: Any) -> Any:
            calls.append((series_context.context.key, series_context.environment))
            return data

    calls: list[tuple[str, str]] = []
    async with mobile_client(MobileService(), hooks=[Recording()], **FURTHER) as client:
        await client.identify(BEN)
    assert calls == [(key, name) for key in ("anna", "ben") for name in ("default", "beta 100%")]


async def test_a_further_environment_neither_starts_nor_closes_by_itself() -> None:
    async with mobile_client(MobileService(), **FURTHER) as client:
        environment = client.environment("beta 100%")
        for call, reason in ((environment.start, "starts with its client"), (environment.aclose, "closes with its client")):
            with pytest.raises(LifecycleError, match=reason):
                await call()
        assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED


async def test_an_environment_that_cannot_change_its_mode_does_not_keep_the_others_online(caplog: pytest.LogCaptureFixture) -> None:
    async with mobile_client(MobileService(), **FURTHER) as client:
        modes, client._work.modes = client._work.modes, cast("Any", "modes with a bug")
        client.set_offline(True)
        client._work.modes = modes
        assert [each.is_offline for each in (client, client.environment("beta 100%"))] == [False, True]
    assert [message for message in caplog.messages if "please report" in message] == [
        "could not change the connection mode after an internal error (please report)"
    ]


async def test_the_bootstrap_belongs_to_the_client_itself() -> None:
    client = mobile_client(MobileService(poll=[SILENT]), bootstrap={"f": "first"}, **FURTHER)
    await client.start(0.5)
    assert (client.variation("f", ""), client.environment("beta 100%").variation("f", "")) == ("first", "")
    await client.aclose()
