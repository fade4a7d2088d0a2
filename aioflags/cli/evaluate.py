"""``aioflags evaluate``: evaluates a flag of a file for a context, once or for every line of standard input.

Without a client and a network: the document becomes a snapshot, which is evaluated.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from aioflags.cli.flag_data import FLAGD, snapshot_of
from aioflags.cli.options import context_of, fractional_option, launchdarkly_problem, read_object
from aioflags.cli.usage_errors import check_keys, placed, read_json, remark
from aioflags.evaluation.snapshot import Snapshot
from aioflags.evaluation.value_types import MISMATCH, expected_type, has_fraction
from aioflags.model.detail import EvaluationDetail
from aioflags.model.explanation import shown
from aioflags.model.flagd import FractionalVersion
from aioflags.model.values import check_depth
from aioflags.protocol.problems import UNREADABLE
from aioflags.runtime.suggest import did_you_mean


class _Evaluation(msgspec.Struct):
    """One evaluation; in a batch, one line."""

    key: str
    context: dict[str, Any]
    default: Any = None


_EVALUATION = msgspec.json.Decoder(_Evaluation)


@click.command("evaluate", short_help="Evaluate flags of a file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("key", required=False)
@click.option("--context", "context_json", metavar="JSON", help='The context: \'{"kind": "user", "key": "user-123"}\'.')
@click.option("--default", "default_json", metavar="JSON", default="null", help="The value if the flag cannot be evaluated. [null]")
@click.option("--batch", is_flag=True, help='Evaluate every line {"key": ..., "context": ..., "default": ...} of standard input.')
@fractional_option
@click.pass_context
def command(
    ctx: click.Context,
    file: Path,
    key: str | None,
    context_json: str | None,
    default_json: str,
    *,
    flagd_fractional: FractionalVersion | None,
    batch: bool,
) -> None:
    """Print the value of flag KEY in FILE for a context, with its variation and the reason, as JSON.

    FILE has {"flags": {...}, "flagValues": {...}, "segments": {...}}, or flags in flagd's format. A context without a
    "kind" is read as a legacy user; for flagd's flags it has a "targetingKey" and attributes. The exit status is 0 for
    every evaluation, whatever its reason, and 2 if a line of a batch cannot be read.
    """
    if batch and (key is not None or context_json is not None):
        raise click.UsageError("--batch reads keys and contexts from standard input")
    if not batch and (key is None or context_json is None):
        raise click.UsageError("expected a KEY and --context, or --batch")
    check_keys([] if key is None else [key])
    # Print warnings of the library about a flag.
    logging.basicConfig(format="aioflags: %(message)s", level=logging.WARNING)
    snapshot = snapshot_of(file, flagd_fractional)
    if batch:
        ctx.exit(_evaluate_all(snapshot, sys.stdin.buffer))
    context = read_object(context_json or "", is_flagd=snapshot.dialect.name == FLAGD)
    evaluation = _Evaluation(key or "", context, read_json("--default", default_json))
    click.echo(_evaluate(snapshot, evaluation))


def _evaluate_all(snapshot: Snapshot, lines: Iterable[bytes]) -> int:
    """Print one line for each input line, in order. Returns the exit status."""
    status = 0
    for number, line in enumerate(lines, start=1):
        where = f"line {number}: "
        try:
            check_depth(line)
            evaluation = _EVALUATION.decode(line)
        except UNREADABLE as error:
            problem: str | None = placed(error)
        else:
            problem = launchdarkly_problem(evaluation.context) if snapshot.dialect.name == FLAGD else None
            if problem is None:
                click.echo(_evaluate(snapshot, evaluation, where))
                continue
            problem = f"context: {problem}"
        click.echo(msgspec.json.encode({"error": f"{where}{problem}"}))
        status = 2
    return status


def _evaluate(snapshot: Snapshot, evaluation: _Evaluation, where: str = "") -> bytes:
    """The result as JSON. ``where``: the line of the batch, for remarks."""
    is_flagd = snapshot.dialect.name == FLAGD
    context = context_of(evaluation.context, where, is_flagd=is_flagd)
    if not (context.is_valid_for_flagd if is_flagd else context.is_valid):
        remark(f"{where}the context cannot be used: {context.error}")
    detail: EvaluationDetail[Any] = snapshot.evaluate(evaluation.key, context, evaluation.default, wanted=object).detail
    if evaluation.key not in snapshot.flags:
        hint = did_you_mean(evaluation.key, snapshot.flags, before="; ", quote=shown)
        remark(f"{where}unknown flag {shown(evaluation.key)}{hint}")
    elif detail.error_message is not None:
        remark(f"{where}flag {evaluation.key}: {detail.error_message}")
    elif evaluation.default is not None and not detail.is_default:
        expected = expected_type(evaluation.default)
        if snapshot.dialect.fit(detail.value, expected) is MISMATCH:
            types = snapshot.dialect.mismatch(detail.value, expected)
            remark(f"{where}flag {evaluation.key}: the value is {types} by the default; a program gets the default")
        elif expected is int and has_fraction(detail.value):
            remark(f"{where}flag {evaluation.key}: a program with this default gets {int(detail.value)}, without the fraction")
    variation = {"variant": detail.variant} if is_flagd else {"variationIndex": detail.variation_index}
    return msgspec.json.encode({"value": detail.value, **variation, "reason": detail.reason.to_dict()})
