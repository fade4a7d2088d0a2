"""Options of a client for a mobile key that are refused, replaced, or logged."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.errors import ConfigError
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.pipelines import ModeDefinition
from aioflags.sources import Cache, Fdv1Polling, MemorySource, Polling, Streaming


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(ModeDefinition(synchronizers=[Streaming()]), id="a stream"),
        pytest.param(ModeDefinition(synchronizers=[Polling()]), id="polls"),
        pytest.param(ModeDefinition(initializers=[Cache(), Polling()]), id="a poll at the start"),
        pytest.param(ModeDefinition(synchronizers=[MemorySource({}), Fdv1Polling()]), id="polls by FDv1"),
    ],
)
def test_the_mode_offline_takes_no_sources_that_make_requests(definition: ModeDefinition) -> None:
    with pytest.raises(ConfigError, match=r"modes\['offline'\]: expected no sources that poll or stream"):
        MobileConfig(modes={"offline": definition})


@pytest.mark.parametrize("options", [{}, {"initializers": [Cache()]}, {"synchronizers": [MemorySource({})]}])
def test_the_mode_offline_takes_other_sources(options: dict[str, Any]) -> None:
    definition = ModeDefinition(**options)
    assert MobileConfig(modes={"offline": definition}).definitions == {"offline": definition}
