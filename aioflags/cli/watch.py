"""``aioflags watch``: prints changes of flags and of the client's status, one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import anyio
import click
import msgspec

from aioflags.cli.flag_data import data_of
from aioflags.cli.options import fractional_option, read_context
from aioflags.client_core.base_client import BaseClient
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.model.explanation import shown
from aioflags.model.flagd import FractionalVersion
from aioflags.model.status import SourceState
from aioflags.model.values import same_json
from aioflags.runtime.suggest import nearest, suggestion

_ANYONE: Final = Context("anyone", anonymous=True)

News: TypeAlias = dict[str, Any]
"""One line, as JSON: a ``status``; or a ``flag``, with its ``value`` and the ``before`` value for a context, or ``absent``."""


@click.command("watch", short_help="Follow flags and statuses live.")
@click.argument("words", metavar="[FILE] [KEY]...", nargs=-1)
@click.option("--live", "is_live", is_flag=True, help="Use LaunchDarkly's flags. The SDK key is in LAUNCHDARKLY_SDK_KEY.")
@click.option("--flagd", "is_flagd", is_flag=True, help="Use flagd's flags. FLAGD_HOST, FLAGD_RESOLVER, ... are the options.")
@click.option(
    "--context", "context_json", metavar="JSON", help="Print values for this context. Without it, only the keys of changed flags."
)
@click.option("--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="Duration. [until Ctrl-C]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@fractional_option
def command(
    words: tuple[str, ...],
    context_json: str | None,
    seconds: float | None,
    *,
    flagd_fractional: FractionalVersion | None,
    is_live: bool,
    is_flagd: bool,
    as_json: bool,
) -> None:
    """Print each change of a flag and of the client's status, for the flags in FILE, or, with --live, the flags of
    LaunchDarkly's service, or, with --flagd, the flags of flagd.

    With KEYs, only these flags are printed. A change of a prerequisite or segment counts as a change of the flag. With
    FLAGD_RESOLVER=ofrep, --context is required.
    """
    data, keys = data_of(words, is_live=is_live, is_flagd=is_flagd, fractional=flagd_fractional)
    context = None if context_json is None else read_context(context_json, is_flagd=data.is_flagd)

    def show(news: News) -> None:
        click.echo(msgspec.json.encode(news) if as_json else _line(news))

    async def watch() -> None:
        with anyio.move_on_after(seconds):
            await follow(data.watched_client(context), keys, context, show)

    try:
        anyio.run(watch)
    except KeyboardInterrupt:
        return


async def follow(client: BaseClient, keys: Sequence[str], context: Context | None, show: Callable[[News], None]) -> None:
    """Start the client and call ``show`` for each change until cancelled. Starts with the status, unknown keys and values."""
    async with client, anyio.create_task_group() as tasks:
        changes = client.changes()  # before reading the values: no change is lost in between
        tasks.start_soon(_statuses, client, show)
        shown_values: dict[str, Any] = {}
        values = (await client.flags(context or _ANYONE)).all()
        for key in keys or sorted(values):
            if key not in values and client.is_remote:
                # A server may leave flags without a default variant out of the answer for all flags.
                detail = await client.variation_detail(key, context or _ANYONE)
                if detail.reason.error_kind is not ErrorKind.FLAG_NOT_FOUND:
                    values[key] = detail.value
            if key in values:
                if context is not None:
                    shown_values[key] = values[key]
                    show({"flag": key, "value": shown_values[key]})
            elif client.is_initialized:
                show({"flag": key, "absent": True, "nearest": nearest(key, values)})
        async for change in changes:
            if keys and change.key not in keys:
                continue
            if context is None:
                show({"flag": change.key})
                continue
            value, before = await client.variation(change.key, context), shown_values.get(change.key)
            if change.key not in shown_values or not same_json(value, before):
                shown_values[change.key] = value
                show({"flag": change.key, "value": value, "before": before})


async def _statuses(client: BaseClient, show: Callable[[News], None]) -> None:
    async for report in client.reports():
        error = report.last_error.message if report.last_error else None
        show({"status": report.status.value, "sourceState": report.source_state.value, "lastError": error})


def _line(news: News) -> str:
    match news:
        case {"status": status, "sourceState": state, "lastError": error}:
            is_over = error is None or state == SourceState.VALID
            return f"status {status}, source {state}{'' if is_over else f'; last error: {shown(error)}'}"
        case {"flag": key, "value": value, "before": before}:
            return f"{shown(key)} is {shown(value)} now, and was {shown(before)}"
        case {"flag": key, "absent": True, "nearest": match}:
            return f"unknown flag {shown(key)}{'' if match is None else f', {suggestion(match, shown)}'}"
        case {"flag": key, "value": value}:
            return f"{shown(key)} is {shown(value)}"
        case _:
            return f"{shown(news['flag'])} has changed"
