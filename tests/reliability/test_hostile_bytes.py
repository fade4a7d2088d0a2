"""R15: mutated streams, documents, contexts and files. Each is read, applied and evaluated, or refused, as a whole."""

from __future__ import annotations

from time import thread_time

import pytest

from aioflags.model.context import Context
from aioflags.transport.backoff import read_date
from tests.evaluation.generator import world
from tests.reliability.expected_changes import contents
from tests.reliability.mutations import mutated, mutated_bytes
from tests.reliability.plugin import Figures
from tests.reliability.readers import READERS, Reader, used_as_a_whole
from tests.reliability.scoreboard import batches, replayable

SECONDS = 0.05
"""For each megabyte, and for less."""


pytestmark = [pytest.mark.holds("RB-R15"), pytest.mark.timeout(0), pytest.mark.usefixtures("quiet")]


@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.parametrize("numbers", batches("R15", 2))
@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items()])
def test_hostile_bytes_are_used_or_refused_as_a_whole(reader: Reader, numbers: range, figures: Figures) -> None:
    """Whatever is damaged, what a client takes is what the standard library finds in the bytes, change set by change set."""
    used = 0
    for number in numbers:
        with replayable(number) as chance:
            seeded = world(f"hostile:{number % 50}")
            document = reader.json(seeded, chance)
            data = mutated_bytes(reader.document(mutated(document, chance)), chance)
            contexts = [Context.from_dict(mutated(each, chance)) for each in seeded.contexts[:2]]
            began = thread_time()
            reader.read(data)
            seconds = thread_time() - began
            used += bool(used_as_a_whole(reader, data, contexts))
            figures.worst("slowest input", seconds * 1e3, "ms")
            assert seconds <= SECONDS * max(len(data) / 1e6, 1)
    figures.total("inputs", len(numbers))
    figures.total("used", used)


@pytest.mark.parametrize("numbers", batches("R15", 2))
@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items() if reader.expected])
def test_a_change_set_that_is_cut_or_damaged_anywhere_changes_nothing(reader: Reader, numbers: range, figures: Figures) -> None:
    """Cut: nothing of the last change set is used. One byte that is another, missing or twice: the change set is what is there."""
    for number in numbers:
        with replayable(number) as chance:
            whole = reader.document(reader.json(world(f"hostile:{number % 50}"), chance))
            complete, at = reader.read(whole), chance.randrange(len(whole))
            cut = reader.read(whole[:at])
            assert len(cut) < len(complete)
            assert [contents(each) for each in cut] == [contents(each) for each in complete[: len(cut)]]
            assert not (reader.is_atomic and cut)
            middle = chance.choice([b"", chance.randbytes(1), whole[at : at + 1] * 2, b"\n", b"\n\n", b'"', b"}"])
            used_as_a_whole(reader, whole[:at] + middle + whole[at + 1 :], [Context("k")])
    figures.total("cuts and damaged bytes", 2 * len(numbers))


@pytest.mark.parametrize("numbers", batches("R15", 2))
def test_hostile_dates_are_read_or_refused(numbers: range) -> None:
    for number in numbers:
        with replayable(number) as chance:
            text = mutated_bytes(b"Tue, 15 Nov 1994 08:12:31 GMT", chance).decode("latin-1")
            assert isinstance(read_date(text), int | None)
