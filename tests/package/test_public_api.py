"""The public names are exactly those of what is built, and each says what it is."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import aioflags
from aioflags import aiohttp, asgi, fastapi, hooks, migration, otel, plugins, sentry, sources, stores, testing

NAMES = [
    "BigSegments",
    "BigSegmentsStatus",
    "Client",
    "Config",
    "ConfigError",
    "Context",
    "DataSystem",
    "ErrorInfo",
    "ErrorKind",
    "EvaluationDetail",
    "Events",
    "Explanation",
    "Flag",
    "FlagChange",
    "Flags",
    "FlagsError",
    "FlagsState",
    "Hook",
    "Http",
    "LifecycleError",
    "NotReadyError",
    "Persistence",
    "Reason",
    "ReasonKind",
    "SourceState",
    "Stats",
    "Status",
    "StatusReport",
    "StoreError",
    "StoreStatus",
    "ValueChange",
    "current_context",
    "use_context",
]

SOURCES = [
    "Basis",
    "Change",
    "ChangeKind",
    "ChangeSet",
    "ErrorInfo",
    "FailureKind",
    "FallbackDirective",
    "Fdv1FallbackOptions",
    "Fdv1Polling",
    "Fdv1Streaming",
    "FetchFailure",
    "FileSource",
    "Initializer",
    "Latching",
    "MemorySource",
    "ObjectKind",
    "Polling",
    "Selector",
    "SourceBuilder",
    "SourceContext",
    "SourceState",
    "Streaming",
    "Synchronizer",
    "Update",
    "from_function",
    "read_document",
]

STORES = [
    "Described",
    "DiskStore",
    "MembershipStore",
    "MembershipStoreBuilder",
    "ObjectKind",
    "Paced",
    "RedisStore",
    "Store",
    "StoreBuilder",
    "StoreContext",
    "StoreError",
    "StoredItem",
    "StoredItems",
    "context_hash",
]

FRAMEWORKS = [
    pytest.param(asgi, ["FlagsMiddleware", "lifespan"], id="asgi"),
    pytest.param(fastapi, ["CurrentClient", "CurrentFlags", "current_client", "current_flags", "lifespan"], id="fastapi"),
    pytest.param(aiohttp, ["client_of", "flags_of", "setup"], id="aiohttp"),
]

HOOKS = ["EvaluationCall", "Hook", "Metadata", "TrackCall"]

PLUGINS = ["ApplicationMetadata", "EnvironmentMetadata", "Plugin", "SdkMetadata"]

OBSERVABILITY = [
    pytest.param(otel, ["EventsHook", "MetricsPlugin", "TracingHook"], id="otel"),
    pytest.param(sentry, ["SentryHook"], id="sentry"),
]

MIGRATION = ["Failure", "Migrator", "OpTracker", "Operation", "Origin", "ReadOrder", "Result", "Stage", "WriteResult"]

TESTING = [
    "EventRecorder",
    "FlagChangeLog",
    "FlagOverrides",
    "FlagRecorder",
    "FlagsService",
    "MemoryClient",
    "Observation",
    "ObservedEvent",
    "VirtualTimeLoop",
    "assert_flags_exist",
    "overrides",
]

METHODS = {
    "Client": [
        "aclose",
        "add_hook",
        "all_flags_state",
        "big_segments_status",
        "big_segments_statuses",
        "changes",
        "data_age",
        "environment_id",
        "explain",
        "flags",
        "flags_nowait",
        "flush",
        "flush_and_wait",
        "from_env",
        "identify",
        "is_initialized",
        "is_offline",
        "local",
        "migration_variation",
        "refresh",
        "secure_mode_hash",
        "start",
        "stats",
        "status",
        "statuses",
        "store_status",
        "store_statuses",
        "track",
        "track_migration_op",
        "variation",
        "variation_detail",
        "variation_detail_nowait",
        "variation_nowait",
        "wait_ready",
    ],
    "Flags": ["all", "context", "variation", "variation_detail"],
}


@pytest.mark.parametrize("package", [aioflags, sources, stores, migration, testing], ids=lambda package: package.__name__)
def test_a_name_that_is_not_there_is_missed_as_in_any_module(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Clinet'"):
        package.Clinet  # noqa: B018 - looking is the test
    with pytest.raises(ImportError):
        exec(f"from {package.__name__} import Clinet")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        pytest.param(aioflags, NAMES, id="aioflags"),
        pytest.param(sources, SOURCES, id="sources"),
        pytest.param(stores, STORES, id="stores"),
        pytest.param(testing, TESTING, id="testing"),
        pytest.param(hooks, HOOKS, id="hooks"),
        pytest.param(plugins, PLUGINS, id="plugins"),
        pytest.param(migration, MIGRATION, id="migration"),
        *FRAMEWORKS,
        *OBSERVABILITY,
    ],
)
def test_a_module_exports_exactly_what_is_built_in_order(module: ModuleType, names: list[str]) -> None:
    assert list(module.__all__) == names
    assert names == sorted(names)


@pytest.mark.parametrize("name", NAMES)
def test_each_export_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(aioflags, name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", SOURCES)
def test_so_does_each_part_of_a_source(name: str) -> None:
    assert inspect.getdoc(getattr(sources, name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", HOOKS)
def test_so_does_each_part_of_a_hook(name: str) -> None:
    assert inspect.getdoc(getattr(hooks, name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", STORES)
def test_and_each_part_of_a_store(name: str) -> None:
    assert inspect.getdoc(getattr(stores, name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", PLUGINS)
def test_so_does_each_part_of_a_plugin(name: str) -> None:
    assert inspect.getdoc(getattr(plugins, name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", MIGRATION)
def test_so_does_each_part_of_a_migration(name: str) -> None:
    assert inspect.getdoc(getattr(migration, name)), f"{name} has no docstring"


@pytest.mark.parametrize(("module", "names"), [*FRAMEWORKS, *OBSERVABILITY])
def test_so_does_what_frameworks_and_observers_are_given(module: ModuleType, names: list[str]) -> None:
    assert [name for name in names if not inspect.getdoc(getattr(module, name))] == []


@pytest.mark.parametrize("name", TESTING)
def test_and_each_help_for_tests(name: str) -> None:
    assert inspect.getdoc(getattr(testing, name)), f"{name} has no docstring"


@pytest.mark.parametrize("owner", METHODS)
def test_a_class_has_exactly_these_public_methods(owner: str) -> None:
    cls = getattr(aioflags, owner)
    assert sorted(name for name in dir(cls) if not name.startswith("_")) == METHODS[owner]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in METHODS.items() for name in names])
def test_each_public_method_says_what_it_does(owner: str, name: str) -> None:
    member = inspect.getattr_static(getattr(aioflags, owner), name)
    assert inspect.getdoc(member), f"{owner}.{name} has no docstring"


def test_a_public_method_names_its_booleans() -> None:
    for owner, names in METHODS.items():
        for name in names:
            member = getattr(getattr(aioflags, owner), name)
            if not callable(member):
                continue
            for parameter in inspect.signature(member).parameters.values():
                assert not isinstance(parameter.default, bool) or parameter.kind is parameter.KEYWORD_ONLY, f"{owner}.{name}"
