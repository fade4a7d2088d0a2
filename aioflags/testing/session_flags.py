"""The flags of a test session: from ``--flags-file`` and ``--flags``, and the values of the markers of a test."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.errors import ConfigError
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.model.values import NestingError, check_depth
from aioflags.protocol.definitions import put
from aioflags.protocol.flag_documents import FlagDocument, plain_json, read_flag_document
from aioflags.runtime.files import read_regular
from aioflags.runtime.suggest import did_you_mean
from aioflags.testing.client import serving
from aioflags.testing.recorder import describe

# -- The marker ``flags_strict``: a test fails if an evaluation of it fails.


class StrictObserver:
    """Records evaluations that served the default because of an error: unknown flag, invalid context, wrong type."""

    def __init__(self) -> None:
        self._mistakes: dict[str, None] = {}

    def __call__(self, observation: Observation) -> None:
        """Record an evaluation, if it failed."""
        reason = observation.detail.reason
        if reason.kind is ReasonKind.ERROR:
            hint = (
                did_you_mean(observation.key, {**observation.flags, **observation.overrides}, before="; ")
                if reason.error_kind is ErrorKind.FLAG_NOT_FOUND
                else ""
            )
            self._mistakes[describe(observation) + hint] = None

    def check(self) -> None:
        """Fail the test if an evaluation failed."""
        __tracebackhide__ = True
        if self._mistakes:
            lines = [
                "flags_strict: evaluations that failed and served the default:",
                *self._mistakes,
                "set the flag (marker flags, fixture flags, --flags-file), or correct its key, its type or the context",
            ]
            pytest.fail("\n  ".join(lines), pytrace=False)


# -- The report of ``--flags-unused-report``: flags of the session that no test evaluated, also not as a prerequisite.


_WORKER_KEY: Final = "aioflags_evaluated"


def unused(session_flags: SessionFlags, evaluated: set[str]) -> list[str]:
    """The sorted keys of flags that were not evaluated. An evaluation of a flag counts for its prerequisites."""
    definitions: Mapping[str, FlagDefinition | FlagdFlag] = session_flags.definitions
    reached, waiting = set[str](), list(evaluated)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            if isinstance(definition := definitions.get(key), FlagDefinition):
                waiting += [prerequisite.key for prerequisite in definition.prerequisites or ()]
    return sorted({*definitions, *(session_flags.values or {})} - reached)


class UnusedReport:
    """The plugin that prints the report. Workers of pytest-xdist send it the keys that they evaluated."""

    def __init__(self, session_flags: SessionFlags) -> None:
        self._session_flags = session_flags
        self._evaluated: set[str] = set()

    def observe(self, observation: Observation) -> None:
        """Record an evaluation."""
        self._evaluated.add(observation.key)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Observe the evaluations of all tests."""
        with OVERRIDES.observed(self.observe):
            return (yield)

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the keys of this worker."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WORKER_KEY] = sorted(self._evaluated)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the keys of a worker. A worker that crashed sends none."""
        self._evaluated.update(getattr(node, "workeroutput", {}).get(_WORKER_KEY, ()))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        keys = unused(self._session_flags, self._evaluated)
        terminalreporter.section("flags that no test evaluated")
        terminalreporter.line("\n".join(keys) if keys else "none")


_FILES: Final = "--flags-file"
_VALUES: Final = "--flags"


@dataclass(frozen=True, slots=True)
class SessionFlags:
    """Flags and segments of files, and values that override them."""

    documents: tuple[tuple[str, bytes], ...] = ()
    """Name and text of each file."""
    values: Mapping[str, Any] | None = None

    def with_values(self, values: Mapping[str, Any]) -> SessionFlags:
        """A copy with more values, which override earlier ones."""
        return SessionFlags(self.documents, {**(self.values or {}), **values})

    @property
    def definitions(self) -> dict[str, FlagDefinition | FlagdFlag]:
        """The flags of the files, by key."""
        changes = (change for document in self._read() for change in document.change_set.changes)
        return {change.key: change.definition for change in changes if isinstance(change.definition, FlagDefinition | FlagdFlag)}

    @property
    def flagd_documents(self) -> tuple[tuple[str, bytes], ...]:
        """Name and text of each file in flagd's format."""
        return tuple(document for document, read in zip(self.documents, self._read(), strict=True) if read.is_flagd)

    def change_set(self) -> ChangeSet:
        """All flags and segments for a client of LaunchDarkly, which cannot evaluate files in flagd's format."""
        changes = [change for document in self._read() if not document.is_flagd for change in document.change_set.changes]
        by_key: dict[tuple[ObjectKind, str], Change] = {(change.kind, change.key): change for change in changes}
        for key, value in (self.values or {}).items():
            before = by_key.get((ObjectKind.FLAG, key))
            known = before.definition if before else None
            version = known.version if isinstance(known, FlagDefinition) else 1
            flag = serving(key, value, known if isinstance(known, FlagDefinition) else None, version)
            by_key[ObjectKind.FLAG, key] = put(ObjectKind.FLAG, key, version, flag)
        return ChangeSet(kind=ChangeKind.FULL, changes=tuple(by_key.values()), persist=False)

    def _read(self) -> list[FlagDocument]:
        return [read_flag_document(text, name=name) for name, text in self.documents]


_GIVEN: Final = pytest.StashKey[SessionFlags]()


def session_flags_of(config: pytest.Config) -> SessionFlags:
    """The flags of the command line. They are read at the first call.

    Raises:
        pytest.UsageError: a file cannot be read or has a mistake, or a value is not written as ``KEY=VALUE``.
    """
    if (known := config.stash.get(_GIVEN, None)) is not None:
        return known
    folder = config.invocation_params.dir
    files: list[str] = config.getoption(_FILES) or []
    values: list[str] = config.getoption(_VALUES) or []
    try:
        documents = tuple((name, read_regular(folder / name)) for name in files)
    except OSError as error:
        raise pytest.UsageError(f"{_FILES}: {error.filename}: {error.strerror or error}") from None
    try:
        for name, text in documents:
            read_flag_document(text, name=name)
    except ConfigError as mistake:
        raise pytest.UsageError(f"{_FILES}: {mistake}") from None
    session_flags = config.stash[_GIVEN] = SessionFlags(documents, dict(map(_pair, values)))
    return session_flags


def _pair(text: str) -> tuple[str, Any]:
    """Split ``new-checkout=true``. The text after the first equals sign is JSON, or a string if it is not valid JSON."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise pytest.UsageError(f"{_VALUES} {text}: expected KEY=VALUE, for example {_VALUES} new-checkout=true")
    try:
        check_depth(value)
        return key, plain_json(json.loads(value))
    except (ConfigError, NestingError) as mistake:
        raise pytest.UsageError(f"{_VALUES} {text}: {mistake}") from None
    except ValueError:
        return key, value
