"""Options can be copied, and passed to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Config, DataSystem, FlagdConfig, Http, MobileConfig
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.sources import FileSource, MemorySource
from aioflags.stores import FileStorage


def pickled(options: object) -> Any:
    return pickle.loads(pickle.dumps(options))


COPIERS = [
    pytest.param(pickled, id="pickle"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    pytest.param(copy.copy, id="copy"),
]


@pytest.mark.parametrize("copied", COPIERS)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(Config(defaults={"limits": {"a": [1]}}, http=Http(read_timeout=3)), id="server-side"),
        pytest.param(Config(data_system=DataSystem.fdv1()), id="server-side with FDv1"),
        pytest.param(Config().one_shot(), id="one-shot"),
        pytest.param(MobileConfig(secondary_mobile_keys={"other": "mob-key"}, defaults={"a": 1}), id="mobile"),
        pytest.param(FlagdConfig(environment={"FLAGD_HOST": "flags.test"}, headers={"A": "b"}), id="flagd"),
    ],
)
def test_a_copy_of_options_equals_the_original(options: object, copied: Callable[[Any], Any]) -> None:
    assert copied(options) == options


@pytest.mark.parametrize("copied", COPIERS)
@pytest.mark.parametrize(
    ("part", "names"),
    [
        pytest.param(FileStorage("/tmp/flags"), ["folder"], id="a storage of files"),
        pytest.param(FileSource("a.json", "b.json", interval=7, notified=False), ["paths", "interval", "notified"], id="files"),
    ],
)
def test_a_copy_has_its_own_threads_and_the_same_options(part: object, names: list[str], copied: Callable[[Any], Any]) -> None:
    copy_of_part = copied(part)
    assert {name: getattr(copy_of_part, name) for name in names} == {name: getattr(part, name) for name in names}


@pytest.mark.parametrize("copied", COPIERS[:2])
def test_flags_in_memory_stay_in_their_process(copied: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"^a MemorySource cannot be pickled or copied deeply"):
        copied(Config(data_system=DataSystem.custom(initializers=[], synchronizers=[MemorySource({"a": 1})])))


def test_a_mapping_of_options_cannot_be_changed_and_looks_like_a_dict() -> None:
    mapping: Any = ReadOnlyMapping({"a": 1})
    assert (repr(mapping), dict(mapping), mapping == {"a": 1}, len(mapping)) == ("{'a': 1}", {"a": 1}, True, 1)
    with pytest.raises(TypeError):
        mapping["a"] = 2
