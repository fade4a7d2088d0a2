"""``aioflags doctor``: checks whether flags arrive on this machine, and gives advice if they do not."""

from __future__ import annotations

import logging
from contextlib import aclosing
from pathlib import Path
from typing import Final

import anyio
import click
import msgspec

from aioflags.cli.flag_data import flagd_service, mobile_service, service
from aioflags.cli.options import FRACTIONAL_OPTION, OVERRIDES_MISPLACED, fractional_option, overrides_option, with_overrides
from aioflags.model.flagd import FractionalVersion
from aioflags.runtime.logs import SILENT
from aioflags.tools.doctor import Check, Grade, run_checks
from aioflags.tools.flagd_doctor import run_flagd_checks

_MARKS: Final = {Grade.GOOD: "ok     ", Grade.WARNING: "warning", Grade.PROBLEM: "PROBLEM"}


@click.command("doctor", short_help="Find out why flags do not arrive.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per check: check, verdict, text, advice.")
@click.option(
    "--flagd", "is_flagd", is_flag=True, help="Check a client for flagd. FLAGD_HOST, FLAGD_RESOLVER, ... are its options."
)
@click.option("--mobile", "is_mobile", is_flag=True, help="Check a MobileClient. LAUNCHDARKLY_MOBILE_KEY is its key.")
@overrides_option
@fractional_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    flagd_fractional: FractionalVersion | None,
    overrides: tuple[Path, ...],
    as_json: bool,
    is_flagd: bool,
    is_mobile: bool,
) -> None:
    """Check the key, the addresses, the connection (proxy, DNS, TCP, TLS), a poll, the clock, and a stream.

    Key and addresses are read from the environment: LAUNCHDARKLY_SDK_KEY, LAUNCHDARKLY_BASE_URI, LAUNCHDARKLY_STREAM_URI,
    LAUNCHDARKLY_EVENTS_URI. With --mobile, the key is LAUNCHDARKLY_MOBILE_KEY, and the flags are for an anonymous context.
    With --overrides, check these files, too, and print what they override.
    With --flagd, check the start of a client for flagd, its flags, and the file if it has one.
    The exit status is 1 if there is a problem.
    """
    # The checks cover the warnings of the options, so do not log these.
    log = logging.Logger("doctor", logging.ERROR)  # noqa: LOG001 -- used by this command only
    if is_flagd and is_mobile:
        raise click.UsageError("use --flagd or --mobile, not both")
    if overrides and (is_flagd or is_mobile):
        raise click.UsageError(OVERRIDES_MISPLACED)
    if is_flagd:
        flagd_service(fractional=flagd_fractional)  # logs the warnings of the options
        found = run_flagd_checks(flagd_service(SILENT, fractional=flagd_fractional))
    elif flagd_fractional is not None:
        raise click.UsageError(f"{FRACTIONAL_OPTION} needs --flagd")
    elif is_mobile:
        found = run_checks(*mobile_service(log))
    else:
        key, config = service(log)
        found = run_checks(key, with_overrides(config, overrides))

    async def check_all() -> bool:
        has_problem = False
        async with aclosing(found) as checks:
            async for check in checks:
                has_problem = has_problem or check.grade is Grade.PROBLEM
                click.echo(msgspec.json.encode(check) if as_json else _lines(check))
        return has_problem

    ctx.exit(1 if anyio.run(check_all) else 0)


def _lines(check: Check) -> str:
    advice = "" if check.advice is None else f"\n         {check.advice}"
    return f"{_MARKS[check.grade]}  {check.name}: {check.text}{advice}"
