"""``aioflags explain``: why a flag has its value for a context, told step by step, by a file or by the service."""

from __future__ import annotations

import anyio
import click
import msgspec

from aioflags.cli.contexts import read_context
from aioflags.cli.flag_data import data_of
from aioflags.model.explanation import Explanation

__all__ = ["command"]


@click.command("explain", short_help="Tell why a flag has its value.")
@click.argument("words", metavar="[FILE] KEY", nargs=-1)
@click.option("--live", "is_live", is_flag=True, help="By the flags of the service; its key is in LAUNCHDARKLY_SDK_KEY.")
@click.option("--context", "context_json", required=True, metavar="JSON", help='Whom for: \'{"kind": "user", "key": "user-123"}\'.')
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], context_json: str, *, is_live: bool, as_json: bool) -> None:
    """Tell step by step why flag KEY has its value for a context: targets, rules, clauses, segments, prerequisites, buckets.

    The flags are those of FILE, or, with --live, those that the service has now. A context without a "kind" is read as a user
    of the old form. The exit status is 1 if the flag has no value for the context.
    """
    data, keys = data_of(words, is_live=is_live)
    if len(keys) != 1:
        raise click.UsageError("one KEY is needed" if not keys else f"one KEY is enough, got {len(keys)}")
    context = read_context(context_json)

    async def explained() -> Explanation:
        async with data.client() as client:
            return await client.explain(keys[0], context)

    found = anyio.run(explained)
    click.echo(msgspec.json.encode(found.to_dict()) if as_json else str(found))
    ctx.exit(0 if found.detail.variation_index is not None else 1)
