"""What is fuzzed: each target takes bytes, lets the code read them, and asserts what must hold of the result.

More than that nothing is raised: nothing half is used, what can be written is read back equal, two ways to read the same agree, and
no input holds the event loop for more than 50 ms a megabyte.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import thread_time
from typing import Any, Final, TypeAlias

from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.flagd.targeting import compile_targeting, read_version
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.operators import parse_time, parse_version
from aioflags.evaluation.patterns import compile_pattern
from aioflags.model.attributes import AttributeReference
from aioflags.model.change import ChangeSet
from aioflags.model.context import Context
from aioflags.model.event import IdentifyEvent
from aioflags.protocol.directive import read_directive, read_goodbye
from aioflags.protocol.event_json import EventEncoder
from aioflags.protocol.redaction import Redaction
from aioflags.tools.lint import lint
from aioflags.transport.backoff import read_date, read_retry_after
from tests.reliability.expected_changes import events_of_stream
from tests.reliability.fuzz.files import DISK, disk_store, file_storage, flag_cache
from tests.reliability.readers import READERS, Reader, events_in, snapshot_for, used_as_a_whole

SECONDS: Final = 0.05
"""For each megabyte, and for less."""
CONTEXTS: Final = [
    Context("k", name="n", attributes={"a": "x", "list": [1, "b", None], "email": "e@x", "version": "1.2.0", "when": 1.5e12}),
    Context.multi(Context("k", anonymous=True), Context("o", kind="org", attributes={"a": {"b": ["x"]}})),
]


@dataclass(frozen=True, slots=True)
class Target:
    """One target. ``is_json``: its inputs are mostly JSON, so that they are mutated as such, too."""

    run: Callable[[bytes], None]
    is_json: bool = False
    dictionary: tuple[str, ...] = ()


def check(target: Target, data: bytes, *, slowness: float = 1.0) -> None:
    """Run the target. The fastest of three runs counts. ``slowness``: how much slower instrumented code is."""
    allowed = SECONDS * slowness * max(len(data) / 1e6, 1)
    times: list[float] = []
    while len(times) < 3 and min(times, default=allowed + 1) > allowed:
        began = thread_time()
        target.run(data)
        times.append(thread_time() - began)
    assert min(times) <= allowed, f"{len(data)} bytes took {min(times):.3f} s"


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def json_of(data: bytes) -> Any:
    """The JSON value in ``data``, read as leniently as possible; ``...`` if there is none."""
    try:
        return json.loads(text_of(data))
    except (ValueError, RecursionError):
        return ...


# -- payloads and documents


def payload(reader: Reader) -> Callable[[bytes], None]:
    """What is used is in the bytes, whole; it is evaluated, and explained with the same value."""

    def run(data: bytes) -> None:
        change_sets = used_as_a_whole(reader, data, CONTEXTS)
        if "mobile" not in reader.name:
            explained(change_sets)

    return run


def explained(change_sets: list[ChangeSet]) -> None:
    snapshot = snapshot_for(change_sets)
    for change_set in change_sets[-1:]:
        snapshot = snapshot.apply(change_set)
        for key in [*snapshot.flags][:4]:
            for context in CONTEXTS:
                detail = snapshot.evaluate(key, context, None, wanted=object).detail
                assert repr(explain(snapshot, key, context).detail.value) == repr(detail.value)


def sse(data: bytes) -> None:
    """The events are those of the standard, however the bytes arrive in chunks. Bytes that are not UTF-8 end them at some chunk."""
    size, body = (data[0] % 40 + 1, data[1:]) if data else (1, b"")
    whole = [(event.event, event.data) for event in events_in([body])]
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    arrived = [(event.event, event.data) for event in events_in(chunks)]
    assert arrived[: len(whole)] == whole
    with contextlib.suppress(UnicodeDecodeError):
        body.decode()
        assert arrived == whole
        assert [event for event in whole if event[1]] == [event for event in events_of_stream(body) if event[1]]


def linted(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        for finding in lint([(name, data)]):
            assert "\n" not in finding.message

    return run


def goodbye(data: bytes) -> None:
    reason, directive = read_goodbye(data)
    assert isinstance(reason, str)
    assert directive is None or isinstance(directive.ttl, float)
    text = text_of(data)
    read_directive({"x-ld-fd-fallback": text, "X-LD-FD-Fallback-TTL": text})
    for status in (429, 503):
        assert 0 <= read_retry_after(status, {"retry-after": text}) <= 300


# -- contexts


def context(data: bytes) -> None:
    """A valid context survives its JSON, and no private value is in an event."""
    value = json_of(data)
    if value is ...:
        return
    made = Context.from_dict(value)
    assert hash(made) == hash(copy.copy(made))
    assert isinstance(made.canonical_key, str)
    repr(made)
    if made.error is not None:
        return
    again = Context.from_dict(made.to_dict())
    # A legacy user may have an empty key, and names of attributes that JSON of today has no place for.
    assert again == made or again.error is not None, (made.to_dict(), again.to_dict())
    hidden = EventEncoder(Redaction(all_attributes_private=True)).record(IdentifyEvent(at_ms=1, context=made))
    for single in made:
        kept = json.loads(hidden)["context"]
        kept = kept[single.kind] if kept["kind"] == "multi" else kept
        assert kept.keys() <= {"kind", "key", "anonymous", "_meta"}


def reference(data: bytes) -> None:
    """A valid reference is what its text says, and getting an attribute never raises."""
    parsed = AttributeReference.parse(text_of(data))
    assert parsed.is_valid is bool(parsed.path)
    if parsed.is_valid:
        assert AttributeReference.parse(str(parsed)) == parsed
    for each in CONTEXTS:
        for single in each:
            single.get(text_of(data))


# -- texts in rules


def pattern(data: bytes) -> None:
    """A pattern and a subject: a search that is done has the result of ``re``, with and without RE2, within 5 ms."""
    text, _, subject = text_of(data).partition("\n")
    results: list[bool] = []
    for with_re2 in (True, False):
        notes: list[str] = []
        search = compile_pattern(text, notes.append, with_re2=with_re2)
        result = search(subject)
        if not notes:
            results.append(result)
    if results:
        assert len(set(results)) == 1, results
    if len(subject) <= 12:  # Python's own search of the pattern as it stands may take exponential time
        with contextlib.suppress(re.error, RecursionError, OverflowError), warnings.catch_warnings(action="ignore"):
            assert set(results) <= {re.compile(text).search(subject) is not None}


def version(data: bytes) -> None:
    """Versions are ordered: a comparison that holds one way fails the other way."""
    texts = text_of(data).split("\n")[:3]
    versions = [each for text in texts for each in (parse_version(text), read_version(text)) if each is not None]
    for left in versions:
        for right in versions:
            assert (left < right) + (left == right) + (left > right) == 1
    for text in texts:
        if (made := parse_version(text)) is not None:
            assert read_version("v" + text) == made


def date(data: bytes) -> None:
    """A time of RFC 3339 is the one that ``datetime`` reads; a date of HTTP is a number or refused."""
    text = text_of(data)
    at = parse_time(text)
    assert isinstance(read_date(text), int | None)
    if at is not None:
        with contextlib.suppress(ValueError, OverflowError):  # fractions of more digits; leap seconds; the first and last day
            read = datetime.fromisoformat(text.upper())
            assert abs((read - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 - at) <= 1, text


def rule(data: bytes) -> None:
    """JSONLogic: an array of a rule and data. The result is the same each time, or the rule fails with ``RuleError``."""
    value = json_of(data)
    if not isinstance(value, list) or len(value) != 2:
        return
    of_rule, given = value
    given = given if isinstance(given, dict) else {"a": given}
    kept = copy.deepcopy(given)
    outcomes: list[object] = []
    for _ in range(2):
        try:
            outcomes.append(repr(compile_targeting(of_rule, "f", now_ms=lambda: 5000)(given)))
        except RuleError as error:
            outcomes.append(str(error)[:20])
    assert outcomes[0] == outcomes[1]
    assert repr(given) == repr(kept), "the data were changed"


# -- all of them

Words: TypeAlias = tuple[str, ...]
_STREAM: Final[Words] = (*("event: ", "data: ", "id: ", "retry: ", ":", "\n\n", "\r\n", "\r", "\ufeff", "put", "patch", "delete"),)
_FDV2: Final[Words] = (
    *("server-intent", "put-object", "delete-object", "payload-transferred", "error", "goodbye", "heart-beat", '{"payloads":['),
    *('"intentCode":"xfer-full"', '"intentCode":"xfer-changes"', '"intentCode":"none"', '"kind":"flag"', '"kind":"segment"'),
    *('"state":"s"', '"version":1', '"object":', '"key":', '"data":', '"event":', '{"events":['),
)
_RULES: Final[Words] = (
    *("if", "and", "or", "!", "!!", "==", "===", "!=", "<", "<=", "in", "cat", "substr", "merge", "map", "filter", "reduce", "all"),
    *("none", "some", "missing", "missing_some", "var", "+", "-", "*", "/", "%", "min", "max", "fractional", "sem_ver", "$ref"),
    *("starts_with", "ends_with", "$flagd.flagKey", "$flagd.timestamp", "targetingKey", "accumulator", "current", "$evaluators"),
)
_FLAG: Final[Words] = (
    *("segmentMatch", "startsWith", "matches", "semVerLessThan", "before", "variations", "fallthrough", "rollout", "experiment"),
    *("weight", "bucketBy", "prerequisites", "targets", "contextTargets", "clauses", "negate", "rules", "offVariation", "salt"),
)
_PATTERN: Final[Words] = (
    *(
        "(?i)",
        "(?P<a>",
        "(?=",
        "(?!",
        "(?<=",
        "(?(1)",
        "\\1",
        "\\b",
        "\\Z",
        "[^",
        "[:alpha:]",
        "\\p{L}",
        "{1,9}",
        "*+",
        "+?",
        "(?>",
    ),
    *("\\x{41}", "\\Q", "(?s-i:", "|", "[a-z]", "\\d+", ".*", "^", "$", "\\u0041", "\\N{DIGIT ONE}"),
)


def _targets() -> Iterator[tuple[str, Target]]:
    yield "sse", Target(sse, dictionary=_STREAM)
    for name, reader in READERS.items():
        words = (*_STREAM, *_FDV2, *_FLAG) if "FD" in name else (*_RULES, *_FLAG)
        yield name.lower().replace(" ", "-"), Target(payload(reader), is_json="stream" not in name, dictionary=words)
    yield "lint", Target(linted("flags.json"), is_json=True, dictionary=(*_FLAG, *_RULES))
    yield "lint-yaml", Target(linted("flags.yaml"), dictionary=("&a", "*a", "<<: ", "!!set", "- ", "? ", "|\n", "%YAML", "---\n"))
    yield "goodbye", Target(goodbye, is_json=True, dictionary=("protocolFallbackTTL", "true", "reason", "GMT", "Mon, "))
    yield (
        "context",
        Target(context, is_json=True, dictionary=("kind", "multi", "_meta", "privateAttributes", "custom", "anonymous")),
    )
    yield "reference", Target(reference, dictionary=("~0", "~1", "/", "key", "kind", "list"))
    yield "pattern", Target(pattern, dictionary=_PATTERN)
    yield "version", Target(version, dictionary=("1.0.0", "-rc.1", "+b", "\n", "v", "99999999999999999999"))
    yield "date", Target(date, dictionary=("2017-12-06T07:00:00Z", "+00:00", "1994", "GMT", "Tue, "))
    yield "rule", Target(rule, is_json=True, dictionary=_RULES)
    yield "disk-store", Target(disk_store, dictionary=(DISK,))
    yield "storage", Target(file_storage, dictionary=("aioflags-storage-1 ",))
    yield "flag-cache", Target(flag_cache, is_json=True, dictionary=("timestamp", "fingerprint", "value", "version"))


TARGETS: Final = dict(_targets())
"""The targets by their names."""
