"""The limit of 128 levels, which counts the same in JSON text and in values."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import Context
from aioflags.model.change import ObjectKind
from aioflags.model.values import MAX_DEPTH, NestingError, check_depth, is_too_deep
from aioflags.protocol.definitions import value_flag
from aioflags.protocol.event_json import try_json
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.flag_documents import DocumentError, read_document
from aioflags.protocol.messages import Completed, Effect, Malformed, read_message
from aioflags.protocol.server_side import Fdv1Reader, read_latest_all
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores.base import StoredItem
from aioflags.stores.items import read_item, stored_version
from tests.support.canaries import secretive


def arrays(depth: int) -> str:
    return "[" * depth + "]" * depth


def objects(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def mixed(depth: int) -> str:
    """With brackets and escapes in strings, and siblings on each level."""
    opened = [r'["]\\", "\"[", ' if level % 2 else r'{"]": "[", "[{": ' for level in range(depth)]
    closed = [', "{"]' if level % 2 else ', "b": "}"}' for level in reversed(range(depth))]
    return "".join([*opened, "1", *closed])


SHAPES = [
    pytest.param(arrays, id="arrays"),
    pytest.param(objects, id="objects"),
    pytest.param(mixed, id="both, with brackets in strings"),
]


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def is_refused(text: bytes | str | msgspec.Raw, envelope: int = 0) -> bool:
    try:
        check_depth(text, envelope=envelope)
    except NestingError:
        return True
    return False


# -- the functions


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 5000, 200_000])
def test_text_is_refused_beyond_the_limit(shape: Any, depth: int) -> None:
    text = shape(depth)
    forms = (text, text.encode(), msgspec.Raw(text.encode()))
    assert [is_refused(form) for form in forms] == [depth > MAX_DEPTH] * 3


@pytest.mark.parametrize("envelope", [0, 1, 4])
def test_levels_of_an_envelope_do_not_count(envelope: int) -> None:
    assert not is_refused(arrays(MAX_DEPTH + envelope), envelope)
    assert is_refused(arrays(MAX_DEPTH + envelope + 1), envelope)


JSON = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\,:a\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\a', max_size=4), inner, max_size=3),
    max_leaves=20,
)


@given(JSON, st.integers(100, 140))
def test_text_and_values_have_the_same_depth(value: Any, around: int) -> None:
    for _ in range(around):
        value = [value, "]"]
    deep = depth_of(value) > MAX_DEPTH
    assert is_refused(json.dumps(value)) is deep
    assert is_refused(msgspec.json.encode(value)) is deep
    assert is_too_deep(value) is deep


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100, b"]" * 300, b'"' * 301, b"][" * 200, b'{"a":"\\', b"[" * 64 + b'"' + b"]" * 300, b"\xff\xfe" * 200]
)
def test_text_that_is_not_json_is_left_to_the_decoder(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError, msgspec.DecodeError)):
        msgspec.json.decode(text)
    is_refused(text)


def test_a_value_that_contains_itself_is_too_deep() -> None:
    loop: list[object] = []
    loop += [loop, loop, {"a": loop}]
    assert is_too_deep(loop)


@pytest.mark.parametrize("outer", [tuple[Any], MappingProxyType], ids=["tuples", "read-only mappings"])
def test_other_containers_count(outer: Any) -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = MappingProxyType({"a": value}) if outer is MappingProxyType else (value,)
    assert not is_too_deep(value)
    assert is_too_deep([value])


# -- where JSON text becomes objects


def flag_of(value: str) -> str:
    """A flag that is two levels deeper than its value."""
    return f'{{"key":"f","version":1,"on":true,"variations":[{value}],"fallthrough":{{"variation":0}}}}'


def ignored(value: str) -> str:
    """A flag with a property that is not read, one level deeper than its value."""
    return f'{{"key":"f","version":1,"later":[{value}]}}'


INTENT = '{"payloads":[{"intentCode":"xfer-full"}]}'
DONE = '{"state":"s","version":1}'


def streamed(flag: str) -> bool:
    reader = Fdv2Reader()
    reader.feed("server-intent", INTENT)
    effect = reader.feed("put-object", f'{{"kind":"flag","key":"f","version":1,"object":{flag}}}')
    return not isinstance(effect, Malformed)


def polled(flag: str, opening: str = "") -> bool:
    put = f'{{"kind":"flag","key":"f","version":1,"object":{flag}}}'
    data = [("server-intent", INTENT), ("put-object", put), ("payload-transferred", DONE)]
    events = ",".join(f'{{"event":"{name}","data":{text}}}' for name, text in data)
    body = f'{{{opening}"events":[{events}]}}'
    return isinstance(run_at_once(read_poll(body.encode())), Completed)


def polled_otherwise(flag: str) -> bool:
    """A body that cannot be cut into its events without decoding all of it."""
    return polled(flag, '"more":1,')


def all_of(flag: str) -> bool:
    return isinstance(run_at_once(read_latest_all(f'{{"flags":{{"f":{flag}}}}}'.encode())), Completed)


def all_with_more(flag: str) -> bool:
    """With a section that is not read."""
    body = f'{{"flags":{{"f":{{"version":1}}}},"later":{{"f":{flag}}}}}'
    return isinstance(run_at_once(read_latest_all(body.encode())), Completed)


def put_all(flag: str) -> bool:
    return is_complete("put", f'{{"path":"/","data":{{"flags":{{"f":{flag}}}}}}}')


def put_with_more(flag: str) -> bool:
    return is_complete("put", f'{{"data":{{"flags":{{}},"later":{{"f":{flag}}}}}}}')


def patched(flag: str) -> bool:
    return is_complete("patch", f'{{"path":"/flags/f","data":{flag}}}')


def is_complete(name: str, data: str) -> bool:
    """Whether an event of FDv1 counts, after an empty put."""
    reader = Fdv1Reader(logging.getLogger("test"))
    for event in (("put", '{"path":"/","data":{}}'), (name, data)):
        effect: Any = reader.feed(*event)
        effect = effect if isinstance(effect, Effect) else run_at_once(effect)
    return isinstance(effect, Completed)


def stored(flag: str) -> bool:
    complaints: list[str] = []
    item = StoredItem(ObjectKind.FLAG, "f", 1, flag.encode())
    change = read_item(item, complaints.append)
    assert (stored_version(flag.encode()) is None) == (change is None) == bool(complaints)
    return change is not None


@pytest.mark.parametrize(
    "read", [streamed, polled, polled_otherwise, all_of, all_with_more, put_all, put_with_more, patched, stored]
)
@pytest.mark.parametrize(
    ("write", "levels"), [pytest.param(flag_of, 2, id="in a variation"), pytest.param(ignored, 2, id="in an unknown property")]
)
def test_a_flag_nests_at_most_128_levels(read: Any, write: Any, levels: int) -> None:
    assert read(write(arrays(MAX_DEPTH - levels)))
    for depth in (MAX_DEPTH - levels + 1, 900, 9000, 200_000):
        assert not read(write(arrays(depth)))


def message(name: str, members: str, more: str) -> bool:
    try:
        return read_message(name, f'{{{members},"more":{more}}}') == read_message(name, f"{{{members}}}")
    except NestingError:
        return False


def update(name: str, members: str, more: str) -> bool:
    return is_complete(name, f'{{{members},"more":{more}}}')


@pytest.mark.parametrize(
    ("read", "name", "members"),
    [
        pytest.param(message, "server-intent", '"payloads":[{"intentCode":"xfer-full"}]', id="FDv2 server-intent"),
        pytest.param(message, "put-object", '"kind":"flag","key":"f","version":1,"object":{"version":1}', id="FDv2 put-object"),
        pytest.param(message, "delete-object", '"kind":"flag","key":"f","version":1', id="FDv2 delete-object"),
        pytest.param(message, "payload-transferred", '"state":"s","version":1', id="FDv2 payload-transferred"),
        pytest.param(message, "error", '"reason":"why"', id="FDv2 error"),
        pytest.param(message, "goodbye", '"reason":"why","protocolFallbackTTL":1', id="FDv2 goodbye"),
        pytest.param(update, "patch", '"path":"/flags/f","data":{"version":2}', id="FDv1 patch"),
        pytest.param(update, "delete", '"path":"/flags/f","version":2', id="FDv1 delete"),
    ],
)
def test_an_event_with_more_members_nests_at_most_128_levels_inside(
    read: Callable[[str, str, str], bool], name: str, members: str
) -> None:
    assert read(name, members, arrays(MAX_DEPTH))
    assert not read(name, members, arrays(MAX_DEPTH + 1))


@pytest.mark.parametrize("name", ["flags.json", "flags.yaml"])
def test_a_document_nests_at_most_128_levels(name: str) -> None:
    assert read_document(f'{{"flagValues": {{"f": {arrays(MAX_DEPTH - 2)}}}}}', name=name).changes
    for depth in (MAX_DEPTH - 1, 900, 9000):
        with pytest.raises(DocumentError, match="nested too deeply"):
            read_document(f'{{"flagValues": {{"f": {arrays(depth)}}}}}', name=name)


def test_a_document_given_as_a_mapping_nests_at_most_128_levels() -> None:
    assert read_document({"flagValues": {"f": json.loads(arrays(MAX_DEPTH - 2))}}).changes
    with pytest.raises(DocumentError, match="nested too deeply"):
        read_document({"flagValues": {"f": json.loads(arrays(MAX_DEPTH - 1))}})


def test_a_value_flag_of_a_document_fits_into_a_store() -> None:
    """The value of a plain flag stands two levels deeper in its definition, as it does in the document."""
    value = json.loads(arrays(MAX_DEPTH - 2))
    assert not is_refused(msgspec.json.encode(value_flag("f", value)))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("kind", ["user", "org"])
def test_an_attribute_nests_as_deeply_as_its_context_may(kind: str) -> None:
    def made(depth: int) -> list[Context]:
        data = {"kind": kind, "key": "k", "deep": nested(depth)}
        multi = {"kind": "multi", kind: {"key": "k", "deep": nested(depth)}, "other": {"key": "o"}}
        return [
            secretive("k", kind, deep=nested(depth)),
            Context.from_dict(data),
            Context.from_dict(multi),
            Context.from_legacy_user({"key": "k", "custom": {"deep": nested(depth)}}),
        ]

    for context in made(MAX_DEPTH - 2):
        assert context.is_valid
        assert not is_refused(msgspec.json.encode(context.to_dict()))
    for depth in (MAX_DEPTH - 1, 5000):
        assert {str(context.to_dict()).count("deep") for context in made(depth)} == {0}
        assert all(context.is_valid for context in made(depth))


def test_the_data_of_an_event_nests_at_most_128_levels() -> None:
    assert isinstance(try_json(nested(MAX_DEPTH)), msgspec.Raw)
    for depth in (MAX_DEPTH + 1, 900, 9000):
        assert "nested too deeply" in str(try_json(nested(depth)))
