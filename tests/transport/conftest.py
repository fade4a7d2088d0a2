"""``library``: each of the libraries whose clients a ``client_factory`` may return."""

from __future__ import annotations

import pytest

from tests.support.http_libraries import LIBRARIES, HttpLibrary


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> HttpLibrary:
    of_this_run: HttpLibrary = request.param
    return of_this_run
