"""Writes the flag sets in every format to a folder, from which the server serves them and some columns read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from tests.benchmarks.flagset import STRANGER, SUBJECT, FlagSet
from tests.benchmarks.formats import eppo, launchdarkly, statsig

Answers: TypeAlias = Mapping[str, tuple[bool | None, bool | None]]
"""By flag: the right value for the subject, and for the stranger; ``None`` if either value is right."""


def write(folder: Path, size: str, flag_set: FlagSet) -> None:
    """The files of one flag set, their names beginning with ``size``."""
    documents = {
        "latest-all.json": json.dumps(launchdarkly.document(flag_set), separators=(",", ":")).encode(),
        "poll.json": launchdarkly.poll_body(flag_set),
        "stream": launchdarkly.stream_body(flag_set),
        "eppo.json": json.dumps(eppo.document(flag_set), separators=(",", ":")).encode(),
        "statsig.json": json.dumps(statsig.document(flag_set), separators=(",", ":")).encode(),
        "answers.json": json.dumps(_answers(flag_set)).encode(),
    }
    for name, body in documents.items():
        (folder / f"{size}.{name}").write_bytes(body)


def read_answers(folder: Path, size: str) -> Answers:
    """The right answers that :func:`write` wrote."""
    written: dict[str, list[bool | None]] = json.loads((folder / f"{size}.answers.json").read_bytes())
    return {key: (subject, stranger) for key, (subject, stranger) in written.items()}


def _answers(flag_set: FlagSet) -> Answers:
    return {flag.key: (flag_set.answer(flag.key, SUBJECT), flag_set.answer(flag.key, STRANGER)) for flag in flag_set.flags}
