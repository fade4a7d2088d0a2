"""Checks why flags do not arrive, from the SDK key to the first event of a stream, and gives advice for each problem."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import anyio

from aioflags.config.config import ADDRESS_VARIABLES, ADDRESSES, MOBILE_KEYS, Config, custom_addresses
from aioflags.errors import ConfigError
from aioflags.evaluation.overrides import Overrides
from aioflags.mobile.config import MOBILE_ADDRESSES, MobileConfig
from aioflags.model.change import ObjectKind, Selector
from aioflags.model.context import Context
from aioflags.model.override_options import FileOverrides
from aioflags.model.secret import DISCARDED_ADVICE, SdkKey
from aioflags.persistence.file_overrides import MAX_LOAD, OverridesSession
from aioflags.protocol.client_side import ClientSide
from aioflags.protocol.directive import read_directive
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.messages import Completed, Effect, Malformed
from aioflags.protocol.requests import MOBILE_USER_AGENT, USER_AGENT, identity_headers
from aioflags.protocol.server_side import SERVER_SIDE
from aioflags.protocol.side import Side
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.logs import SILENT, printable
from aioflags.runtime.suggest import did_you_mean
from aioflags.sources.polling import read_environment_id
from aioflags.transport.backoff import read_date
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.proxies import EXEMPTIONS, named_proxy, proxy_for, unread_exemptions
from aioflags.transport.settings import DEFAULT_PORTS
from aioflags.transport.tls import ProbeFailed, certificate_problems, probe

_FIRST_EVENT_TIMEOUT: Final = 10.0
"""Seconds until the first event of a stream. A service sends one at once."""
_MAX_CLOCK_SKEW: Final = 60.0
"""Seconds."""
_READ_TIMEOUT: Final = 10.0
"""Seconds that reading certificates may take."""
_MIN_CERTIFICATE_DAYS: Final = 14.0
_TRUST: Final = "if a proxy inspects TLS, set its certificate: Http(ca_certs=...), or SSL_CERT_FILE"
_NAMED: Final = 20
"""How many overrides a check names."""
_FLAGD: Final = ("FLAGD_", "OFREP_")
"""How the variables of a client for flagd begin."""
_CONTEXT: Final = Context("aioflags-doctor", anonymous=True)
"""The context of requests with a mobile key."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Grade(StrEnum):
    """The result of a check."""

    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: its result, and advice; ``None`` if nothing has to be done."""

    name: str
    grade: Grade
    text: str
    advice: str | None = None


async def run_checks(
    sdk_key: str,
    config: Config | MobileConfig,
    environment: Mapping[str, str] = os.environ,
    *,
    first_event_timeout: float = _FIRST_EVENT_TIMEOUT,
) -> AsyncGenerator[Check, None]:
    """Yield each check when it is done. Requests one poll and the start of one stream from the service.

    With a ``MobileConfig`` the key is a mobile key, and the requests are for an anonymous context.

    ``first_event_timeout``: seconds to wait for the first event of the stream.
    """
    key = SdkKey(sdk_key)
    is_mobile = isinstance(config, MobileConfig)
    overrides = None if isinstance(config, MobileConfig) else config.data_system.overrides
    side: Side = ClientSide(context=_CONTEXT) if is_mobile else SERVER_SIDE
    yield _key(key, environment, is_mobile=is_mobile)
    overridden: Sequence[tuple[ObjectKind, str]] = ()
    if overrides is not None:
        check, overridden = await _overrides(overrides)
        yield check
    custom, default = custom_addresses(config, MOBILE_ADDRESSES if is_mobile else ADDRESSES)
    if custom and default:
        yield _partly_custom(custom, default)
    if unread := unread_exemptions(environment):
        yield _exemptions(unread)
    reachable: dict[str, bool] = {}
    proxied: set[str] = set()
    uses_tls = False
    addresses = {"base_uri": config.base_uri, "stream_uri": config.stream_uri, "events_uri": config.events_uri}
    for name, address in addresses.items():
        target = urlsplit(address)
        proxy = proxy_for(config.http, address, environment)
        yield _route(name, target, proxy)
        if not uses_tls and "https" in {target.scheme, (proxy or "").partition(":")[0].lower()}:
            uses_tls = True
            for check in await certificate_checks(lambda: certificate_problems(config.http)):
                yield check
        if proxy is not None:
            # The requests below show whether the proxy reaches the address.
            reachable[name] = True
            proxied.add(name)
            continue
        connection = await _reach(name, target, config)
        reachable[name] = connection.grade is not Grade.PROBLEM
        yield connection
    agent = MOBILE_USER_AGENT if is_mobile else USER_AGENT
    headers = identity_headers(key, instance_id="doctor", user_agent=agent, logger=config.logger)
    async with HttpTransport(config.http, config.logger) as transport:
        if reachable["base_uri"]:
            for check in await _poll(transport, config, side, headers, overridden):
                yield check
        if reachable["stream_uri"]:
            yield await _stream(transport, config, side, headers, first_event_timeout)
        if "events_uri" in proxied:
            yield await _events(transport, config.events_uri, side)


def _key(key: SdkKey, environment: Mapping[str, str], *, is_mobile: bool) -> Check:
    name = "mobile key" if is_mobile else "SDK key"
    if key.discarded:
        return Check(name="key", grade=Grade.PROBLEM, text=f"the {name} has invalid characters", advice=DISCARDED_ADVICE)
    if not key:
        advice = f"set {MOBILE_KEYS[0]} to the mobile key (mob-…) of the environment"
        if not is_mobile:
            advice = "set LAUNCHDARKLY_SDK_KEY to a server-side SDK key"
            if any(variable in environment for variable in MOBILE_KEYS):
                advice = f"use --mobile to check a MobileClient with {MOBILE_KEYS[0]}; otherwise {advice}"
            if flagd := next((variable for variable in sorted(environment) if variable.startswith(_FLAGD)), None):
                advice = f"{flagd} is set: use --flagd to check a client for flagd; otherwise {advice}"
        return Check(name="key", grade=Grade.PROBLEM, text=f"the {name} is missing", advice=advice)
    if is_mobile and key.is_server_side:
        advice = "never put an SDK key into a program of users: it reads all flags with their rules; use the mobile key (mob-…)"
        return Check(name="key", grade=Grade.WARNING, text="this looks like an SDK key", advice=advice)
    if key.is_mobile and not is_mobile:
        advice = "use the server-side SDK key (sdk-…) of the environment; --mobile checks LAUNCHDARKLY_MOBILE_KEY for MobileClient"
        return Check(name="key", grade=Grade.WARNING, text="this looks like a mobile key", advice=advice)
    return Check(name="key", grade=Grade.GOOD, text=f"the {name} is set, and has only valid characters")


async def _overrides(options: FileOverrides) -> tuple[Check, Sequence[tuple[ObjectKind, str]]]:
    """Check the files, and return the kinds and keys of what they define."""

    async def ignore(_: Overrides) -> None:
        pass

    session = OverridesSession(options, ignore, SILENT)
    await session.load()
    status = session.status
    if status.problem is not None or not session.is_read:
        text = f"not read within {MAX_LOAD:g} s" if status.problem is None else status.problem.message
        advice = "correct the file; until then clients keep the overrides from before, and a new client has none"
        return Check(name="overrides", grade=Grade.PROBLEM, text=text, advice=advice), ()
    if not (status.flags or status.segments):
        return await asyncio.to_thread(_no_overrides, options.files), ()
    names = [*status.flags, *(f"segment {key}" for key in status.segments)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    advice = "clear them when the emergency is over: aioflags override clear FILE"
    text = f"the files override {', '.join(map(printable, names[:_NAMED]))}{more}"
    defined = [*((ObjectKind.FLAG, key) for key in status.flags), *((ObjectKind.SEGMENT, key) for key in status.segments)]
    return Check(name="overrides", grade=Grade.WARNING, text=text, advice=advice), defined


def _no_overrides(files: Sequence[Path]) -> Check:
    if lost := [file.parent for file in files if not file.parent.is_dir()]:
        text, advice = f"{printable(lost[0])} is not a folder, so no client finds overrides in it", "create it, or correct the path"
        return Check(name="overrides", grade=Grade.WARNING, text=text, advice=advice)
    text = "; ".join(f"{printable(file)} {'overrides nothing' if file.exists() else 'does not exist'}" for file in files)
    return Check(name="overrides", grade=Grade.GOOD, text=text)


def _partly_custom(custom: Sequence[str], default: Sequence[str]) -> Check:
    set_names, unset_names = (" and ".join(ADDRESS_VARIABLES[name] for name in names) for names in (custom, default))
    text = f"{set_names} {'is' if len(custom) == 1 else 'are'} set, {unset_names} {'is' if len(default) == 1 else 'are'} not"
    advice = f"set {unset_names}, too, unless these requests are meant for LaunchDarkly's own service"
    return Check(name="addresses", grade=Grade.WARNING, text=text, advice=advice)


def _exemptions(unread: Sequence[str]) -> Check:
    text = f"NO_PROXY has entries that exempt nothing: {printable(', '.join(unread))}"
    return Check(name="proxies", grade=Grade.WARNING, text=text, advice=f"expected {EXEMPTIONS}")


# -- the connection


async def certificate_checks(problems: Callable[[], Sequence[str]]) -> list[Check]:
    """Check the variables that name certificates. ``problems`` reads their files."""
    try:
        found = await SerialThread("aioflags-tls").run(problems, timeout=_READ_TIMEOUT)
    except (ConfigError, OSError):
        return []  # the check of the connection reports it
    advice = "correct the variable, or unset it"
    return [Check(name="certificates", grade=Grade.WARNING, text=problem, advice=advice) for problem in found]


def _port(target: SplitResult) -> int:
    return target.port or DEFAULT_PORTS[target.scheme]


def _route(name: str, target: SplitResult, proxy: str | None) -> Check:
    address = f"{target.scheme}://{target.hostname}:{_port(target)}{target.path}"
    if proxy is None:
        return Check(name=f"{name} route", grade=Grade.GOOD, text=f"{address}, without a proxy")
    advice = f"if no proxy is meant for this address, add {target.hostname} to NO_PROXY"
    # Print the host and the port of a proxy only: its address may have a password, and so may the text of the error.
    try:
        text = f"{address}, through the proxy {named_proxy(proxy)}"
    except ValueError:
        text, advice = f"{address}, through a proxy whose address is not a valid URL", "correct http_proxy, or HTTPS_PROXY"
        return Check(name=f"{name} route", grade=Grade.PROBLEM, text=text, advice=advice)
    return Check(name=f"{name} route", grade=Grade.GOOD, text=text, advice=advice)


async def _reach(name: str, target: SplitResult, config: Config | MobileConfig) -> Check:
    check, host = f"{name} connection", target.hostname or ""
    try:
        reached = await probe(target.scheme, host, _port(target), config.http, config.logger)
    except ProbeFailed as failure:
        advice = {
            "name": "check the name, the DNS of this machine, and whether a proxy is needed (HTTPS_PROXY)",
            "connection": "check the firewall, and whether a proxy is needed (HTTPS_PROXY)",
            "tls": _TRUST,
            "plain": f"the server does not speak TLS on port {_port(target)}: use http://, or the port for https",
        }[failure.stage]
        if failure.stage == "connection" and host in _LOOPBACK:
            advice = "no server listens there: is the port right, and is `aioflags serve` running?"
        # The message of a failed name lookup has the name already.
        missing = "tls" if failure.stage == "plain" else failure.stage
        text = printable(failure) if failure.stage == "name" else f"no {missing} for {host}: {printable(failure)}"
        return Check(name=check, grade=Grade.PROBLEM, text=text, advice=advice)
    except ConfigError as mistake:
        return Check(name=check, grade=Grade.PROBLEM, text=printable(mistake), advice="correct the option, or its file")
    if target.scheme == "http":
        if host in _LOOPBACK:
            return Check(name=check, grade=Grade.GOOD, text="it accepts connections, on this machine")
        text = "it accepts connections, but the key and the flags are sent unencrypted"
        return Check(name=check, grade=Grade.WARNING, text=text, advice="use https")
    if reached.days_left is None:
        text = "it accepts TLS connections, but its certificate is not verified"
        return Check(name=check, grade=Grade.WARNING, text=text, advice="remove disable_ssl_verification")
    text = f"it accepts TLS connections; its certificate is valid for {reached.days_left:.0f} days"
    if reached.days_left < _MIN_CERTIFICATE_DAYS:
        return Check(name=check, grade=Grade.WARNING, text=text, advice="renew the certificate of the service, or of the proxy")
    return Check(name=check, grade=Grade.GOOD, text=text)


# -- the service


async def _poll(
    transport: HttpTransport,
    config: Config | MobileConfig,
    side: Side,
    headers: Mapping[str, str],
    overridden: Sequence[tuple[ObjectKind, str]],
) -> list[Check]:
    """Check one poll, the keys of overrides, and the difference of the clocks."""
    began = time.perf_counter()
    try:
        async with transport.get(side.poll(config.base_uri, Selector.none()).url, headers) as reply:
            body, seen = await reply.read(), reply.headers
        text = f"it answered with {len(body):,} bytes in {time.perf_counter() - began:.2f} s"
        effect = await run_cooperatively(read_poll(body, side.objects, logger=config.logger))
        checks = [_answer(text, effect, seen), *_unknown(overridden, effect)]
    except RequestFailed as failure:
        seen = failure.headers
        checks = [_failed("poll", failure, side)]
    skew = _skew(seen)
    return checks if skew is None else [*checks, skew]


def _unknown(overridden: Sequence[tuple[ObjectKind, str]], effect: Effect) -> Iterator[Check]:
    """Check that the service has the flags and segments that files override: another key may be a typing mistake."""
    if not isinstance(effect, Completed):
        return
    known = {(change.kind, change.key) for change in effect.change_set.changes if change.definition is not None}
    for kind, key in [each for each in overridden if each not in known][:_NAMED]:
        similar = did_you_mean(key, {other for of_kind, other in known if of_kind is kind}, before="; ")
        text = f"the service has no {kind.value} {key!r}{similar}"
        advice = f"correct the key in the file, unless it adds a {kind.value}"
        yield Check(name="overrides", grade=Grade.WARNING, text=text, advice=advice)


def _answer(text: str, effect: Effect, headers: Mapping[str, str]) -> Check:
    """Check what a poll brought: ``text`` with the number of flags and the environment, or why the body is not flag data."""
    directs = read_directive(headers) is not None
    if isinstance(effect, Completed):
        count = sum(change.kind is ObjectKind.FLAG and change.definition is not None for change in effect.change_set.changes)
        text += f": {count:,} flag{'' if count == 1 else 's'}"
    elif not directs:
        reason = f": {printable(effect.message)}" if isinstance(effect, Malformed) else ""
        advice = "check the address: is this the service, or a relay that speaks FDv2?"
        return Check(name="poll", grade=Grade.PROBLEM, text=f"{text} that are not flag data{reason}", advice=advice)
    environment = read_environment_id(headers)
    text += f" of environment {printable(environment)}" if environment else ""
    if directs:
        advice = "nothing is wrong: the client continues with FDv1, as the service asks"
        return Check(name="poll", grade=Grade.WARNING, text=f"{text}, and directs clients off FDv2", advice=advice)
    return Check(name="poll", grade=Grade.GOOD, text=text)


def _skew(headers: Mapping[str, str]) -> Check | None:
    """Check the difference of the clocks; ``None`` if the response has no ``Date`` header."""
    if (server_ms := read_date(headers.get("date", ""))) is None:
        return None
    skew = now() - server_ms / 1000
    if abs(skew) <= _MAX_CLOCK_SKEW:
        return Check(name="clock", grade=Grade.GOOD, text=f"this machine and the service differ by less than {_MAX_CLOCK_SKEW:g} s")
    text = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's"
    return Check(name="clock", grade=Grade.WARNING, text=text, advice="set it with NTP: certificates and experiments depend on it")


async def _stream(
    transport: HttpTransport, config: Config | MobileConfig, side: Side, headers: Mapping[str, str], first_event_timeout: float
) -> Check:
    """Check that the first event arrives in time."""
    began = time.perf_counter()
    try:
        with anyio.fail_after(first_event_timeout):
            async with transport.open_stream(side.stream(config.stream_uri, Selector.none()).url, headers) as stream:
                events = stream.events()
                try:
                    first = await anext(events, None)
                finally:
                    await events.aclose()
    except RequestFailed as failure:
        return _failed("stream", failure, side)
    except TimeoutError:
        advice = "a proxy may buffer streams: let it pass text/event-stream unbuffered, or use DataSystem.polling()"
        return Check(name="stream", grade=Grade.PROBLEM, text=f"no event within {first_event_timeout:g} s", advice=advice)
    if first is None:
        advice = "a server or proxy ends streams at once: check the proxy, or use DataSystem.polling()"
        return Check(name="stream", grade=Grade.PROBLEM, text="it ended before its first event", advice=advice)
    text = f"its first event came after {time.perf_counter() - began:.2f} s"
    return Check(name="stream", grade=Grade.GOOD, text=text)


async def _events(transport: HttpTransport, address: str, side: Side) -> Check:
    """Check that a proxy reaches the service of events. A request without events is sent, so any answer of the service will do."""
    try:
        async with transport.get(address, {}):
            pass
    except RequestFailed as failure:
        if failure.error.status_code in {0, 407, 502, 504}:
            return _failed("events_uri connection", failure, side)
    return Check(name="events_uri connection", grade=Grade.GOOD, text="it answers through the proxy")


def _failed(check: str, failure: RequestFailed, side: Side) -> Check:
    status = failure.error.status_code
    if status in {401, 403}:
        kind = "server-side SDK key" if side is SERVER_SIDE else "mobile key"
        advice = f"check that this is the {kind} of the right environment, and that it was not reset"
    elif status == 404:
        variable = ADDRESS_VARIABLES["stream_uri" if check == "stream" else "base_uri"]
        advice = f"check {variable}: is this the service, or a relay that speaks FDv2?"
    elif status == 407:
        advice = "the proxy requires a user name and password: Http(http_proxy=...)"
    elif status:
        advice = "the service, or a proxy before it, fails: try again in a minute"
    elif "certificate" in failure.error.message:
        advice = _TRUST
    else:
        advice = "check the proxy and its log"
    return Check(name=check, grade=Grade.PROBLEM, text=printable(failure.error.message), advice=advice)
