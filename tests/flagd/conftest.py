"""The server of the tests of clients for flagd."""

from __future__ import annotations

import pytest

from tests.support.scripted_flagd import ScriptedFlagd


@pytest.fixture
def flagd() -> ScriptedFlagd:
    """A server with the flag ``a``, whose streams stay open."""
    return ScriptedFlagd()
