"""``aioflags doctor``: whether this machine gets its flags, and if not, why and what to do."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Final

import anyio
import click
import msgspec

from aioflags.cli.flag_data import service
from aioflags.tools.doctor import Check, CheckResult, run_checks

__all__ = ["command"]

_MARKS: Final = {CheckResult.GOOD: "ok     ", CheckResult.WARNING: "warning", CheckResult.PROBLEM: "PROBLEM"}


@click.command("doctor", short_help="Find out why flags do not arrive.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding: check, verdict, text, advice.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Check the key, the addresses, the way there (proxy, name, connection, TLS), a poll, the clock, and a stream.

    Key and addresses are those of the environment: LAUNCHDARKLY_SDK_KEY, LAUNCHDARKLY_BASE_URI, LAUNCHDARKLY_STREAM_URI,
    LAUNCHDARKLY_EVENTS_URI.
    The exit status is 1 if there is a problem.
    """
    # What the options would warn of is among the findings.
    key, config = service(logging.Logger("doctor", logging.ERROR))  # noqa: LOG001 - this command's alone

    async def checking() -> bool:
        has_problem = False
        async with aclosing(run_checks(key, config)) as findings:
            async for finding in findings:
                has_problem = has_problem or finding.verdict is CheckResult.PROBLEM
                click.echo(msgspec.json.encode(finding) if as_json else _lines(finding))
        return has_problem

    ctx.exit(1 if anyio.run(checking) else 0)


def _lines(finding: Check) -> str:
    advice = "" if finding.advice is None else f"\n         {finding.advice}"
    return f"{_MARKS[finding.verdict]}  {finding.check}: {finding.text}{advice}"
