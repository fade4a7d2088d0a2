"""R15: the inputs that fuzzing found or began with are read again in each run; and the fuzzer finds and keeps what fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.fuzz import files
from tests.reliability.fuzz.corpus import CORPUS, inputs, seeds
from tests.reliability.fuzz.engine import fuzz_by_chance
from tests.reliability.fuzz.targets import TARGETS, check
from tests.reliability.plugin import Figures


@pytest.fixture
def _files() -> Iterator[None]:
    """Closes what the targets that read files share."""
    yield
    files.close()


@pytest.mark.holds("RB-R15")
@pytest.mark.usefixtures("_files")
@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.parametrize("name", TARGETS)
def test_each_input_of_the_corpus_is_read_in_time(name: str, caplog: pytest.LogCaptureFixture, figures: Figures) -> None:
    caplog.set_level(logging.CRITICAL)
    found = seeds(name)
    for data in found:
        try:
            check(TARGETS[name], data)
        except Exception as error:
            error.add_note(repr(data))
            raise
    figures.total("inputs of the corpus", len(found))


def test_each_file_of_the_corpus_belongs_to_a_target_and_has_no_input_twice() -> None:
    for path in CORPUS.iterdir():
        assert path.stem in TARGETS
        assert len(inputs(path.stem)) == len(set(inputs(path.stem)))


@pytest.mark.real_time
def test_an_input_that_fails_is_kept(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        assert b"9" not in data

    with pytest.raises(AssertionError):
        fuzz_by_chance(run, [b'{"a":1}'], tmp_path, seconds=60, is_json=True, words=["9"])
    assert all(b"9" in path.read_bytes() for path in tmp_path.iterdir())
    assert [*tmp_path.iterdir()]
