"""Dates in response headers, valid and invalid."""

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
        pytest.param("Sun, 06 Nov 99999 08:49:37 GMT", None, id="a year out of range"),
        pytest.param("Sun, 32 Nov 1994 08:49:37 GMT", None, id="a day that does not exist"),
    ],
)
def test_a_date_header_is_read_as_unix_milliseconds(text: str, date: int | None) -> None:
    assert read_date(text) == date
