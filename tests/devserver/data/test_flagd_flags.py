"""The flags of a server in flagd's format: edits, priorities of documents, and selectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from aioflags.devserver import ServerState, read_objects
from aioflags.devserver.data.flagd_flags import FlagdDocument, FlagdFlags, read_flagd_document, read_selector
from aioflags.errors import ConfigError

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


def document(source: str, *keys: str, metadata: dict[str, Any] | None = None) -> FlagdDocument:
    return read_flagd_document({"flags": dict.fromkeys(keys, ON), "metadata": metadata or {}}, source=source)


def doing(edit: Callable[[FlagdFlags], object]) -> Callable[[FlagdFlags], object]:
    """Gives a lambda a typed argument."""
    return edit


def acting(act: Callable[[ServerState], object]) -> Callable[[ServerState], object]:
    """Gives a lambda a typed argument."""
    return act


@pytest.fixture
def flags() -> FlagdFlags:
    return FlagdFlags([document("one", "a", "b", metadata={"flagSetId": "web"}), document("two", "b", "c")])


@pytest.mark.parametrize(
    ("selector", "keys", "metadata"),
    [
        pytest.param(None, ["a", "b", "c"], {}, id="no selector"),
        pytest.param("", ["a", "b", "c"], {}, id="an empty selector"),
        pytest.param("one", ["a", "b"], {"source": "one"}, id="a source"),
        pytest.param("source=two", ["b", "c"], {"source": "two"}, id="a source with its name"),
        pytest.param("flagSetId=web", ["a", "b"], {"flagSetId": "web"}, id="a flag set"),
        pytest.param("flagSetId=", ["b", "c"], {}, id="no flag set"),
        pytest.param("three", [], {"source": "three"}, id="an unknown source"),
    ],
)
def test_a_selector_selects(selector: str | None, keys: list[str], metadata: dict[str, Any], flags: FlagdFlags) -> None:
    view = flags.view(read_selector(selector))
    assert sorted(view.flags) == keys
    assert view.metadata == metadata


@pytest.mark.parametrize("selector", ["flagSet=web", "flagSetId=web,source=one"])
def test_an_invalid_selector_raises(selector: str) -> None:
    with pytest.raises(ConfigError, match="expected flagSetId=ID or source=URI"):
        read_selector(selector)


def test_the_last_document_with_a_flag_wins(flags: FlagdFlags) -> None:
    assert flags.view().flags["b"]["source"] == "two"
    flags.put("a", {**ON, "state": "DISABLED"})
    assert (flags.view().flags["a"]["source"], flags.view().flags["a"]["state"]) == ("one", "DISABLED")


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        pytest.param(doing(lambda flags: flags.put("d", ON)), {"d": "write"}, id="a new flag"),
        pytest.param(doing(lambda flags: flags.flip("a")), {"a": "update"}, id="a changed flag"),
        pytest.param(doing(lambda flags: flags.delete("c")), {"c": "delete"}, id="a deleted flag"),
        pytest.param(doing(lambda flags: flags.put("a", dict(reversed(ON.items())))), {}, id="the order of properties"),
        pytest.param(
            doing(lambda flags: flags.put("a", {**ON, "variants": {"on": 1, "off": 0}})), {"a": "update"}, id="true is not 1"
        ),
        pytest.param(
            doing(lambda flags: flags.put_document(document("one", "a", "b"))),
            {"a": "update"},
            id="metadata of the flag set changed",
        ),
    ],
)
def test_a_change_has_flagds_word(edit: Callable[[FlagdFlags], object], changes: dict[str, str], flags: FlagdFlags) -> None:
    before = flags.view()
    edit(flags)
    assert flags.view().changes_since(before) == changes


def test_the_text_has_the_flags_alone(flags: FlagdFlags) -> None:
    assert msgspec.json.decode(flags.view().text) == {"flags": flags.view().flags}


def test_the_same_document_again_changes_nothing(flags: FlagdFlags) -> None:
    before = flags.version
    assert not flags.put_document(document("two", "b", "c"))
    assert flags.version == before


@pytest.mark.parametrize("act", [ServerState.flip, ServerState.delete])
def test_an_unknown_flag_raises(act: Callable[[ServerState, str], object]) -> None:
    with pytest.raises(ConfigError, match="there is no flag 'x'"):
        act(ServerState.of({"flags": {"a": ON}}), "x")


def test_a_server_in_flagds_format_is_edited_like_any_other() -> None:
    state = ServerState.of({"flags": {"a": ON}})
    versions = [state.version]
    assert state.flip("a") is False
    versions.append(state.version)
    state.put("b", ON)
    versions.append(state.version)
    state.delete("a")
    versions.append(state.version)
    assert versions == sorted(set(versions))
    assert state.document() == {"flags": {"b": ON}, "segments": {}}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        pytest.param(
            acting(lambda state: state.override("a", "u", True)), "overrides need flags in LaunchDarkly's format", id="an override"
        ),
        pytest.param(
            acting(lambda state: state.put("a", cast("Any", [1]))),
            r"flags\.a: expected object, got array",
            id="a flag that is not an object",
        ),
        pytest.param(
            acting(lambda state: state.send_directive()), "the fallback directive needs flags in LaunchDarkly's", id="a directive"
        ),
        pytest.param(
            acting(lambda state: state.replace(read_objects({}))), "cannot change to LaunchDarkly's", id="the other format"
        ),
    ],
)
def test_flagds_format_cannot(act: Callable[[ServerState], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        act(ServerState.of({"flags": {"a": ON}}))


def test_launchdarklys_format_cannot_change_to_flagds() -> None:
    with pytest.raises(ConfigError, match="cannot change to flagd's"):
        ServerState.of({}).replace(document("x", "a"))
