"""Checks why flags of flagd do not arrive: starts a client, asks it for all flags, and gives advice for each problem."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio

from aioflags.errors import ConfigError
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.flagd.options import port_in
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.model.status import SourceState, StatusReport
from aioflags.runtime.files import read_in_time
from aioflags.runtime.logs import printable
from aioflags.tools.doctor import Check, Grade, certificate_checks
from aioflags.tools.lint import lint
from aioflags.transport.proxies import grpc_proxy, named_proxy, proxy_for
from aioflags.transport.tls import certificate_problems, root_certificates

_START_TIMEOUT: Final = 5.0
_PROBE: Final = "aioflags-doctor"
"""The key of a flag that the server probably does not have."""
_ADVICE: Final = (
    ("cert_path", "check FLAGD_SERVER_CERT_PATH: is it a PEM file with certificates that this process may read?"),
    ("UNIMPLEMENTED", "correct FLAGD_RESOLVER or {port}"),
    ("INVALID_ARGUMENT", "check FLAGD_SOURCE_SELECTOR"),
    ("UNAUTHENTICATED", "the server, or a proxy before it, wants credentials: interceptors=[...], or channel_credentials=..."),
    ("PERMISSION_DENIED", "the server, or a proxy before it, wants other credentials"),
    ("HTTP/2", "this port does not speak gRPC: 8016 is for OFREP and 8014 for management; in-process mode has 8015, rpc mode 8013"),
    (
        "andshake",
        "check FLAGD_TLS and FLAGD_SERVER_CERT_PATH: does the server speak TLS, and which authority signed its certificate?",
    ),
    ("resolving", "check the name in FLAGD_HOST, and the DNS of this machine"),
    ("refused", "is flagd, or `aioflags serve FILE --flagd`, running there? Check {address}"),
)
"""A part of an error, and what to do. ``port`` and ``address`` are variables."""


async def run_flagd_checks(
    config: FlagdConfig, environment: Mapping[str, str] = os.environ, *, start_timeout: float = _START_TIMEOUT
) -> AsyncGenerator[Check, None]:
    """Yield each check when it is done.

    ``environment`` may name proxies. ``start_timeout``: seconds to wait for the flags.
    """
    yield _options(config)
    if (route := _route(config, environment)) is not None:
        yield route
    if (problems := _certificate_problems(config)) is not None:
        for check in await certificate_checks(problems):
            yield check
    for check in await _connection(config, start_timeout):
        yield check
    if config.resolver == "file" and config.offline_flag_source_path is not None:
        for check in await _file(Path(config.offline_flag_source_path)):
            yield check


def _options(config: FlagdConfig) -> Check:
    """The resolver and the place, and a port that the resolver does not read."""
    text = f"resolver {config.resolver}, with {_place(config)}"
    ports = (port_in(config.environment, "FLAGD_SYNC_PORT"), port_in(config.environment, "FLAGD_PORT"))
    if config.resolver == "rpc" and ports[0] and not ports[1]:
        advice = "rpc mode does not read FLAGD_SYNC_PORT: set FLAGD_RESOLVER=in-process, or FLAGD_PORT"
        return Check(name="options", grade=Grade.WARNING, text=text, advice=advice)
    return Check(name="options", grade=Grade.GOOD, text=text)


def _route(config: FlagdConfig, environment: Mapping[str, str]) -> Check | None:
    """The way to the server, if it leads through a proxy."""
    try:
        if config.resolver == "ofrep":
            url = proxy_for(config.http, config.ofrep_url, environment)
            proxy = None if url is None else named_proxy(url)
            text = config.ofrep_url
            advice = f"if no proxy is meant for this address, add {urlsplit(text).hostname} to NO_PROXY"
        elif config.resolver == "file":
            return None
        else:
            text = config.grpc.target.name
            proxy = grpc_proxy(text, environment)
            advice = "gRPC reads grpc_proxy, https_proxy and http_proxy; if no proxy is meant for this host, add it to no_proxy"
    except ValueError:
        text, advice = "through a proxy whose address is not a valid URL", "correct http_proxy, or HTTPS_PROXY"
        return Check(name="route", grade=Grade.PROBLEM, text=text, advice=advice)
    if proxy is None:
        return None
    return Check(name="route", grade=Grade.GOOD, text=f"{printable(text)}, through the proxy {proxy}", advice=advice)


def _certificate_problems(config: FlagdConfig) -> Callable[[], Sequence[str]] | None:
    """What reads the variables that name certificates; ``None`` if the client reads none of them."""
    if config.resolver == "file":
        return None
    if config.resolver == "ofrep":
        return (lambda: certificate_problems(config.http)) if config.ofrep_url.startswith("https:") else None
    settings = config.grpc
    if not settings.tls or settings.cert_path is not None or settings.credentials is not None or settings.target.is_local:
        return None

    def problems() -> Sequence[str]:
        found: list[str] = []
        root_certificates(found.append)
        return found

    return problems


def _place(config: FlagdConfig) -> str:
    """Where the flags come from."""
    match config.resolver:
        case "file":
            place = f"the file {config.offline_flag_source_path}"
        case "ofrep":
            place = config.ofrep_url
        case "rpc" | "in-process":
            is_encrypted = config.tls or config.channel_credentials is not None
            target = config.grpc.target
            place = target.name if target.is_local else f"{target.name}, {'TLS' if is_encrypted else 'not encrypted'}"
    selector = "" if config.selector is None else f", the selector {config.selector}"
    fractional = "" if config.resolver in {"rpc", "ofrep"} else f", version {config.fractional_version} of fractional"
    return printable(place + selector + fractional)


async def _connection(config: FlagdConfig, start_timeout: float) -> list[Check]:
    """Check the start of a client, and an evaluation of all flags."""
    began = time.perf_counter()
    try:
        client = FlagdClient(config)
    except ConfigError as missing:
        return [Check(name="package", grade=Grade.PROBLEM, text=printable(missing), advice="install it, or set FLAGD_RESOLVER")]
    async with aclosing(client):  # `async with client` would wait for the deadline of the options, which may be unlimited
        report = await _first_report(client, start_timeout)
        if report.source_state is not SourceState.VALID:
            problem = f"no flags within {start_timeout:g} s" if report.last_error is None else str(report.last_error)
            return [_problem("flags", problem, config)]
        seconds = time.perf_counter() - began
        context = Context.keyless()
        flags = await client.flags(context)
        detail = flags.variation_detail(_PROBE, None)
        if detail.reason.error_kind not in {None, ErrorKind.FLAG_NOT_FOUND}:
            return [_problem("evaluation", detail.error_message or str(detail.reason.error_kind), config)]
        count = len(flags.all())
    text = f"{count:,} flag{'' if count == 1 else 's'} in {seconds:.2f} s"
    if config.resolver == "rpc":
        text += "; flags without a default variant are not counted"
    if count:
        return [Check(name="flags", grade=Grade.GOOD, text=text)]
    advice = "check the sources of the server, the address, and FLAGD_SOURCE_SELECTOR"
    return [Check(name="flags", grade=Grade.WARNING, text=text, advice=advice)]


async def _first_report(client: FlagdClient, start_timeout: float) -> StatusReport:
    """Start a client, and wait until it has flags or an error."""
    await client.start(0)
    with anyio.move_on_after(start_timeout):
        async for report in client.reports():
            if report.source_state is SourceState.VALID or report.last_error is not None:
                break
    return client.report


async def _file(path: Path) -> list[Check]:
    """Check what lint says about the file."""
    try:
        text = await read_in_time(path)
    except OSError:
        return []  # the client could not read the file either
    findings = await asyncio.to_thread(lint, [(str(path), text)])
    if not findings:
        return [Check(name="lint", grade=Grade.GOOD, text="no findings in the file")]
    found = f"{len(findings)} finding{'' if len(findings) == 1 else 's'} in the file"
    return [Check(name="lint", grade=Grade.WARNING, text=found, advice=f"aioflags lint {printable(path)} lists them")]


def _problem(name: str, message: str, config: FlagdConfig) -> Check:
    if "the proxy " in message and config.resolver != "file":
        advice = "check the proxy; if none is meant for this address, add its host to no_proxy"
    elif config.resolver == "file":
        advice = "check FLAGD_OFFLINE_FLAG_SOURCE_PATH, and the file with aioflags lint"
    elif config.resolver == "ofrep":
        advice = "check OFREP_ENDPOINT and OFREP_HEADERS: is this a server that speaks OFREP?"
    else:
        port = _port_variable(config)
        address = _address_variables(config, port)
        advice = next((advice for part, advice in _ADVICE if part in message), "check {address}")
        advice = advice.format(port=port, address=address)
    return Check(name=name, grade=Grade.PROBLEM, text=printable(message), advice=advice)


def _port_variable(config: FlagdConfig) -> str:
    """The variable that the port is from, or should be from."""
    if config.resolver == "rpc":
        return "FLAGD_PORT"
    names = ("FLAGD_SYNC_PORT", "FLAGD_PORT")
    return next((name for name in names if port_in(config.environment, name)), names[0])


def _address_variables(config: FlagdConfig, port: str) -> str:
    """The variables that the address is from."""
    if config.target_uri is not None:
        return "FLAGD_TARGET_URI"
    return f"FLAGD_HOST and {port}" if config.socket_path is None else "FLAGD_SOCKET_PATH"
