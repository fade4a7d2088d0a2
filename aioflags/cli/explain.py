"""``aioflags explain``: explains step by step why a flag has its value for a context, with the flags of a file or the service."""

from __future__ import annotations

from pathlib import Path

import anyio
import click
import msgspec

from aioflags.cli.flag_data import data_of
from aioflags.cli.options import fractional_option, overrides_option, read_context
from aioflags.model.explanation import Explanation
from aioflags.model.flagd import FractionalVersion
from aioflags.runtime.logs import SILENT


@click.command("explain", short_help="Explain why a flag has its value.")
@click.argument("words", metavar="[FILE] KEY", nargs=-1)
@click.option("--live", "is_live", is_flag=True, help="Use LaunchDarkly's flags. The SDK key is in LAUNCHDARKLY_SDK_KEY.")
@click.option("--flagd", "is_flagd", is_flag=True, help="Use flagd's flags. FLAGD_HOST, FLAGD_RESOLVER, ... are the options.")
@click.option(
    "--context", "context_json", required=True, metavar="JSON", help='The context: \'{"kind": "user", "key": "user-123"}\'.'
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@overrides_option
@fractional_option
@click.pass_context
def command(
    ctx: click.Context,
    words: tuple[str, ...],
    context_json: str,
    *,
    flagd_fractional: FractionalVersion | None,
    overrides: tuple[Path, ...],
    is_live: bool,
    is_flagd: bool,
    as_json: bool,
) -> None:
    """Explain step by step why flag KEY has its value for a context: targets, rules, clauses, segments, prerequisites, buckets.

    The flags come from FILE, or, with --live, from LaunchDarkly's service, or, with --flagd, from flagd. A
    context without a "kind" is read as a legacy user; for flagd's flags it has a "targetingKey" and attributes. The exit
    status is 1 if the flag has no value for the context.
    """
    data, keys = data_of(words, is_live=is_live, is_flagd=is_flagd, fractional=flagd_fractional, overrides=overrides)
    if len(keys) != 1:
        raise click.UsageError(f"expected one KEY, got {len(keys)}")
    context = read_context(context_json, is_flagd=data.is_flagd)

    async def run() -> Explanation:
        async with data.client(SILENT) as client:  # the explanation has the mistakes in this flag, and the last error
            return await client.explain(keys[0], context)

    explanation = anyio.run(run)
    click.echo(msgspec.json.encode(explanation.to_dict()) if as_json else str(explanation))
    ctx.exit(1 if explanation.detail.is_default else 0)
