"""The features of flagd's providers, for each mode of FlagdClient: against a flagd in this process, and with a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.config_options import OPTION_STEPS
from tests.conformance.connections import CONNECTION_STEPS, OUTAGE_STEPS, Connections, Provider
from tests.conformance.evaluations import EVALUATION_STEPS
from tests.conformance.features import Case, cases_of, needs_data, parameters, versions
from tests.conformance.steps import Steps

STEPS = Steps[Provider](EVALUATION_STEPS, OPTION_STEPS, CONNECTION_STEPS, OUTAGE_STEPS)

FILES = tuple(
    f"provider/{file}"
    for file in (
        "connection",
        "contextEnrichment",
        "disabled",
        "evaluation",
        "events",
        "metadata",
        "rpc-caching",
        "selector",
        "sync-payload",
        "targeting",
    )
)

MODES = ("file", "in-process", "rpc", "ofrep")

NO_STREAM = "OFREP has no stream, so that the client learns of changes and outages from evaluations alone"
GRPC_ONLY = "an option for gRPC"
LEFT_OUT = {
    "caching": "OFREP has no cache",
    **dict.fromkeys(("events", "forbidden", "grace", "reconnect", "unavailable"), NO_STREAM),
    **dict.fromkeys(("customCert", "targetURI", "unixsocket"), GRPC_ONLY),
}
"""Why OFREP does not run the cases with a tag that are for rpc."""


def is_for(case: Case, mode: str) -> bool:
    """Whether a case is meant for a mode. One without the tag of any mode is meant for all, one for rpc also for OFREP."""
    tagged = case.tags & set(MODES)
    return not tagged or ("rpc" if mode == "ofrep" else mode) in tagged


def in_mode(mode: str) -> list[Any]:
    """A parameter for each case that is meant for a mode."""
    return parameters((case for case in cases_of(*FILES) if is_for(case, mode)), LEFT_OUT if mode == "ofrep" else {})


def is_quiet(case: Case) -> bool:
    """Whether a case leaves the client as it was, so that other cases can have it."""
    return not any(STEPS.bound(step)[0] in OUTAGE_STEPS.values() for step in case.steps)


def run_in(mode: str, *, quiet: bool) -> Iterator[Case]:
    yield from (each.values[0] for each in in_mode(mode) if not each.marks and is_quiet(each.values[0]) is quiet)


def alone(*modes: str) -> list[Any]:
    """A parameter for each case that needs a client of its own."""
    return [pytest.param(case, mode, id=f"{mode}: {case.id}") for mode in modes for case in run_in(mode, quiet=False)]


def together(*modes: str) -> list[Any]:
    """A parameter for the other cases of a file and one version of ``fractional``."""
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for mode in modes:
        for case in run_in(mode, quiet=True):
            for version in versions(case):
                groups.setdefault((mode, case.file, version), []).append(case)
    return [
        pytest.param(cases, mode, version, id=f"{mode}: {file}: fractional {version}")
        for (mode, file, version), cases in groups.items()
    ]


async def play(cases: list[Case], mode: str, version: int, folder: Path) -> None:
    """Plays cases one after the other. Each error has a note with the id of its case."""
    errors: list[Exception] = []
    async with AsyncExitStack() as stack:
        connections = Connections(mode, version, folder, stack)
        for case in cases:
            world = Provider(connections=connections)
            try:
                await STEPS.play(case, world)
            except Exception as error:  # noqa: BLE001 - it is raised below
                error.add_note(case.id)
                errors.append(error)
            finally:
                await world.close()
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(cases)} cases", errors)


@needs_data
@pytest.mark.parametrize(("cases", "mode", "version"), together("file"))
async def test_the_cases_of_a_file_with_one_client(cases: list[Case], mode: str, version: int, tmp_path: Path) -> None:
    await play(cases, mode, version, tmp_path)


@needs_data
@pytest.mark.parametrize(("case", "mode"), alone("file"))
async def test_a_case_with_a_file(case: Case, mode: str, tmp_path: Path) -> None:
    await play([case], mode, 3, tmp_path)


@needs_data
@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize(("cases", "mode", "version"), together("in-process", "rpc", "ofrep"))
async def test_the_cases_of_a_file_with_one_server(cases: list[Case], mode: str, version: int, tmp_path: Path) -> None:
    await play(cases, mode, version, tmp_path)


@needs_data
@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize(("case", "mode"), alone("in-process", "rpc", "ofrep"))
async def test_a_case_with_a_server(case: Case, mode: str, tmp_path: Path) -> None:
    await play([case], mode, 3, tmp_path)
