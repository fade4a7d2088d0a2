"""The date of an answer, whatever a server has put there."""

from __future__ import annotations

import pytest

from aioflags.protocol.dates import read_date


@pytest.mark.parametrize(
    ("text", "date"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777_000, id="a date"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 -0000", 784_111_777_000, id="without a zone"),
        pytest.param("Sunday", None, id="no date"),
        pytest.param("", None, id="nothing"),
        pytest.param("Sun, 06 Nov 99999 08:49:37 GMT", None, id="a year that nobody knows"),
        pytest.param("Sun, 32 Nov 1994 08:49:37 GMT", None, id="a day that does not exist"),
    ],
)
def test_the_date_of_an_answer_is_read(text: str, date: int | None) -> None:
    assert read_date(text) == date
