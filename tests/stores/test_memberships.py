"""BigSegments: its options, and the hash of context keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import BigSegments, Config, ConfigError
from aioflags.stores import context_hash
from tests.support.scripted_memberships import ScriptedMemberships

STORE = ScriptedMemberships()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("user-key", "CEXjZY7cHJG/ydFy7q4+YEFwVrG3/pkJwA4FAjrbfx0=", id="a key"),
        pytest.param("user1", "CgQblGLKpKMbrDVn4Lbm/ZEAeH2yq0M9lvbReMq/zpA=", id="EV-E140 user1"),
        pytest.param("user2", "YCXRj+SKvUUWhSjxioLiZd2Y1CGnCEqgn2GzQXA5AaM=", id="EV-E140 user2"),
        pytest.param("user3", "WGD68CtrxiIrpaylI1YPDjZMzYtnvuSG/ov3wB1JLMs=", id="EV-E140 user3"),
    ],
)
def test_a_context_key_is_hashed(key: str, expected: str) -> None:
    assert context_hash(key) == expected


def test_a_key_with_a_lone_surrogate_is_hashed() -> None:
    assert context_hash("half a pair: \ud800") != context_hash("half a pair: \ud801")


class NoStatus:
    async def memberships(self, context_hash: str) -> None: ...

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"store": "redis://localhost"}, "store: str is not a store", id="an address as a store"),
        pytest.param({"store": None}, "store: NoneType is not a store", id="None as a store"),
        pytest.param({"store": NoStatus()}, "it has no method last_updated_ms", id="a store that lacks a method"),
        pytest.param(
            {"store": ScriptedMemberships},
            "ScriptedMemberships is a class; expected a store of memberships, made",
            id="a class that was not called",
        ),
        pytest.param({"context_cache_size": 1.5}, "context_cache_size: expected int", id="a fraction of a context"),
        pytest.param({"context_cache_size": True}, "context_cache_size: expected int", id="a boolean as a number"),
        pytest.param({"context_cache_time": "5"}, "context_cache_time: expected int or float", id="text as seconds"),
        pytest.param({"status_poll_interval": None}, "status_poll_interval: expected", id="None as seconds"),
        pytest.param({"stale_after": []}, "stale_after: expected int or float", id="a list as seconds"),
    ],
)
def test_the_error_for_an_option_of_the_wrong_type_has_its_name(options: Mapping[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"store": STORE}
    with pytest.raises(ConfigError) as refused:
        BigSegments(**{**defaults, **options})
    assert message in str(refused.value)


def test_a_configuration_accepts_only_a_big_segments_object() -> None:
    assert Config().big_segments is None
    with pytest.raises(
        ConfigError, match=r"^big_segments: expected BigSegments or None, got tests.support.scripted_memberships.Scripted"
    ):
        Config(big_segments=STORE)  # type: ignore[arg-type]  # that is the point


def test_durations_of_milliseconds_are_kept() -> None:
    options = BigSegments(store=STORE, context_cache_time=0.01, status_poll_interval=0.01, stale_after=0.001)
    assert (options.context_cache_time, options.status_poll_interval, options.stale_after) == (0.01, 0.01, 0.001)
