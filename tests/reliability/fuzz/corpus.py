"""The corpus: inputs that are replayed in every test run. Those of a target are the lines of ``corpus/TARGET.txt``.

A line is the repr of the bytes. Lines that begin with ``#`` say what the lines below them found.
"""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Final

from tests.evaluation.generator import world
from tests.reliability.readers import READERS

CORPUS: Final = Path(__file__).with_name("corpus")


def inputs(target: str) -> list[bytes]:
    """The inputs of the corpus for a target."""
    path = CORPUS / f"{target}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def seeds(target: str) -> list[bytes]:
    """What a fuzzer starts from: the corpus, and some valid documents."""
    names = [name for name in READERS if name.lower().replace(" ", "-") == target]
    documents = [
        reader.document(reader.json(world(f"fuzz:{number}"), random.Random(number)))
        for reader in map(READERS.__getitem__, names)
        for number in range(5)
    ]
    return [*inputs(target), *documents] or [b""]
