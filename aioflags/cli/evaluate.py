"""``aioflags evaluate``: what a flag of a file is for a context, once or for every line of standard input.

No client and no network take part: the document becomes a snapshot, and a snapshot answers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from aioflags.cli.contexts import context_of, written_context
from aioflags.cli.usage_errors import UsageMistake, file_mistakes, is_word, placed, remark
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.detail import EvaluationDetail
from aioflags.model.explanation import shown
from aioflags.model.nesting import check_depth
from aioflags.protocol.documents.document import read_document
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.regular_files import read_regular
from aioflags.runtime.suggest import did_you_mean

__all__ = ["command"]


class _Question(msgspec.Struct):
    """One line of a batch."""

    key: str
    context: dict[str, Any]
    default: Any = None


_QUESTION = msgspec.json.Decoder(_Question)
_AS_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}


@click.command("evaluate", short_help="Evaluate flags of a file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("key", required=False)
@click.option("--context", "context_json", metavar="JSON", help='Whom for: \'{"kind": "user", "key": "user-123"}\'.')
@click.option("--default", "default_json", metavar="JSON", default="null", help="What is answered if the flag cannot be. [null]")
@click.option("--batch", is_flag=True, help='Answer every line {"key": ..., "context": ..., "default": ...} of standard input.')
@click.pass_context
def command(ctx: click.Context, file: Path, key: str | None, context_json: str | None, default_json: str, *, batch: bool) -> None:
    """Print the value of flag KEY in FILE for a context, with its variation and the reason, as JSON.

    FILE holds {"flags": {...}, "flagValues": {...}, "segments": {...}}. A context without a "kind" is read as a user
    of the old form. Any answer comes with exit status 0, whatever its reason; a line of a batch that cannot be read makes it 2.
    """
    if batch and (key is not None or context_json is not None):
        raise click.UsageError("--batch reads keys and contexts from standard input")
    if not batch and (key is None or context_json is None):
        raise click.UsageError("a KEY and a --context are needed, or --batch")
    # What the library has to say of a flag is for whoever runs the command.
    logging.basicConfig(format="aioflags: %(message)s", level=logging.WARNING)
    with file_mistakes(file):
        snapshot = Snapshot.empty().apply(read_document(read_regular(file), name=str(file)))
    if batch:
        ctx.exit(_answer_all(snapshot, () if sys.stdin is None else sys.stdin.buffer))
    question = _Question(key or "", written_context(context_json or ""), _default(default_json))
    click.echo(_answer(snapshot, question))
    if question.key not in snapshot.flags:
        hint = did_you_mean(question.key, snapshot.flags, before="; ", quote=shown)
        remark(f"there is no flag {shown(question.key)}{hint}")


def _answer_all(snapshot: Snapshot, lines: Iterable[bytes]) -> int:
    """Prints one line for each line, in order; answers the exit status."""
    status = 0
    for line in lines:
        try:
            check_depth(line)
            question = _QUESTION.decode(line)
        except UNREADABLE as error:
            click.echo(msgspec.json.encode({"error": placed(error)}))
            status = 2
        else:
            click.echo(_answer(snapshot, question))
    return status


def _answer(snapshot: Snapshot, question: _Question) -> bytes:
    context = context_of(question.context)
    if context.error is not None:
        remark(f"the context cannot be used: {context.error}")
    detail: EvaluationDetail[Any] = snapshot.evaluate(question.key, context, question.default, wanted=object).detail
    return msgspec.json.encode({"value": detail.value, "variationIndex": detail.variation_index, "reason": detail.reason.to_dict()})


def _default(text: str) -> Any:
    try:
        check_depth(text)
        return msgspec.json.decode(text)
    except UNREADABLE as error:
        if is_word(text):
            meant = _AS_PYTHON.get(text, f"'\"{text}\"'")
            raise UsageMistake(f"--default: not JSON: {text}; for example {meant}") from None
        raise UsageMistake(f"--default: {placed(error)}") from None
