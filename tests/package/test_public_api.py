"""The public names, their modules, and that each has a docstring."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

import aioflags
from aioflags import (
    aiohttp,
    asgi,
    devserver,
    django,
    fastapi,
    hooks,
    litestar,
    migration,
    openfeature,
    otel,
    plugins,
    sentry,
    sources,
    stores,
    testing,
)
from aioflags.testing import toxics

NAMES = [
    "BigSegments",
    "BigSegmentsStatus",
    "Client",
    "Config",
    "ConfigError",
    "ConnectionMode",
    "Context",
    "DataSystem",
    "ErrorCode",
    "ErrorInfo",
    "ErrorKind",
    "EvaluationDetail",
    "Event",
    "EventKind",
    "Events",
    "Explanation",
    "FileOverrides",
    "Flag",
    "FlagChange",
    "FlagdClient",
    "FlagdConfig",
    "Flags",
    "FlagsError",
    "FlagsState",
    "Hook",
    "Http",
    "IdentifyResult",
    "IdentifyStatus",
    "LifecycleError",
    "MobileClient",
    "MobileConfig",
    "MobileEvents",
    "NotReadyError",
    "OverridesStatus",
    "Persistence",
    "Reason",
    "ReasonKind",
    "SourceState",
    "Stats",
    "Status",
    "StatusError",
    "StatusReport",
    "StoreError",
    "StoreStatus",
    "ValueChange",
    "current_context",
    "use_context",
]

SOURCES = [
    "Basis",
    "Cache",
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
    "ConsulStore",
    "Described",
    "DiskStore",
    "DynamoDBStore",
    "FileStorage",
    "MembershipStore",
    "MembershipStoreBuilder",
    "MemoryStorage",
    "ObjectKind",
    "Paced",
    "RedisStore",
    "Storage",
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
    pytest.param(litestar, ["CurrentClient", "CurrentFlags", "FlagsPlugin", "client_of", "flags_of"], id="litestar"),
    pytest.param(django, ["FlagsRequest", "RequestFlagsMiddleware", "asgi", "current_client", "register", "running"], id="django"),
    pytest.param(openfeature, ["AioFlagsProvider"], id="openfeature"),
]

HOOKS = ["EvaluationCall", "Hook", "IdentifyCall", "Metadata", "TrackCall"]

PLUGINS = ["ApplicationMetadata", "EnvironmentMetadata", "FlagdPlugin", "MobilePlugin", "Plugin", "SdkMetadata"]

OBSERVABILITY = [
    pytest.param(otel, ["EventsHook", "MetricsPlugin", "TracingHook"], id="otel"),
    pytest.param(sentry, ["SentryHook"], id="sentry"),
]

MIGRATION = ["Failure", "Migrator", "OpTracker", "Operation", "Origin", "ReadOrder", "Result", "Stage", "WriteResult"]

TESTING = [
    "EventRecorder",
    "FakeFlagd",
    "FaultProxy",
    "FlagChangeLog",
    "FlagOverrides",
    "FlagRecorder",
    "FlagsService",
    "MemoryClient",
    "MemoryMobileClient",
    "Observation",
    "ObservedEvent",
    "Schedule",
    "ScheduledFault",
    "VirtualTimeLoop",
    "assert_flags_exist",
    "overrides",
]

TOXICS = [
    "HTTP",
    "TCP",
    "Bandwidth",
    "BlackHole",
    "Corrupt",
    "Duplicate",
    "HalfOpen",
    "Latency",
    "LimitData",
    "Redirect",
    "Refuse",
    "ResetPeer",
    "Send",
    "Slicer",
    "Stream",
    "TlsFailure",
    "Toxic",
    "Wire",
    "WrongContentType",
    "WrongStatus",
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
        "events",
        "explain",
        "flags",
        "flags_nowait",
        "flush",
        "flush_and_wait",
        "from_env",
        "has_kinds",
        "identify",
        "is_initialized",
        "is_offline",
        "is_remote",
        "local",
        "migration_variation",
        "on_event",
        "on_status",
        "overrides_status",
        "provider_name",
        "refresh",
        "rejected_payloads",
        "report",
        "reports",
        "secure_mode_hash",
        "start",
        "stats",
        "status",
        "store_status",
        "store_statuses",
        "track",
        "track_migration_op",
        "variation",
        "variation_detail",
        "variation_detail_nowait",
        "variation_nowait",
        "wait_ready",
        "wait_until",
    ],
    "Flags": ["all", "context", "variation", "variation_detail"],
}


@pytest.mark.parametrize("package", [aioflags, sources, stores, migration, testing], ids=lambda package: package.__name__)
def test_an_unknown_name_raises_as_in_any_module(package: ModuleType) -> None:
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
        pytest.param(toxics, TOXICS, id="toxics"),
        pytest.param(hooks, HOOKS, id="hooks"),
        pytest.param(plugins, PLUGINS, id="plugins"),
        pytest.param(migration, MIGRATION, id="migration"),
        *FRAMEWORKS,
        *OBSERVABILITY,
    ],
)
def test_a_module_exports_exactly_these_names_in_order(module: ModuleType, names: list[str]) -> None:
    assert list(module.__all__) == names
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))  # constants first


@pytest.mark.parametrize("package", [aioflags, sources, stores, testing], ids=lambda package: package.__name__)
def test_names_loaded_at_first_use_are_those_that_type_checkers_see(package: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(package))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imported = {name.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "on_demand"
    )
    homes = ast.literal_eval(call.args[1])
    assert {name: module for module, names in homes.items() for name in names} == imported
    eager = {name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert set(package.__all__) - imported.keys() <= eager
    assert {name for name in imported if not name.startswith("_")} <= set(package.__all__)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        pytest.param(aioflags, NAMES, id="aioflags"),
        pytest.param(sources, SOURCES, id="sources"),
        pytest.param(hooks, HOOKS, id="hooks"),
        pytest.param(stores, STORES, id="stores"),
        pytest.param(plugins, PLUGINS, id="plugins"),
        pytest.param(migration, MIGRATION, id="migration"),
        pytest.param(devserver, devserver.__all__, id="devserver"),
        pytest.param(testing, TESTING, id="testing"),
        pytest.param(toxics, [name for name in TOXICS if name not in {"HTTP", "Send", "Stream", "TCP"}], id="toxics"),
        *FRAMEWORKS,
        *OBSERVABILITY,
    ],
)
def test_each_public_name_has_a_docstring(module: ModuleType, names: list[str]) -> None:
    assert [name for name in names if not inspect.getdoc(getattr(module, name))] == []


@pytest.mark.parametrize("owner", METHODS)
def test_a_class_has_exactly_these_public_methods(owner: str) -> None:
    cls = getattr(aioflags, owner)
    assert sorted(name for name in dir(cls) if not name.startswith("_")) == METHODS[owner]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in METHODS.items() for name in names])
def test_each_public_method_has_a_docstring(owner: str, name: str) -> None:
    member = inspect.getattr_static(getattr(aioflags, owner), name)
    assert inspect.getdoc(member), f"{owner}.{name} has no docstring"


def test_booleans_of_public_methods_are_keyword_only() -> None:
    for owner, names in METHODS.items():
        for name in names:
            member = getattr(getattr(aioflags, owner), name)
            if not callable(member):
                continue
            for parameter in inspect.signature(member).parameters.values():
                assert not isinstance(parameter.default, bool) or parameter.kind is parameter.KEYWORD_ONLY, f"{owner}.{name}"
