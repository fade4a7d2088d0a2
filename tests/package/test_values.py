"""Public values and exceptions survive pickle, copy and deepcopy. What belongs to one process refuses them, and is listed here.

Values that clients return can be fields of pydantic's models and results of FastAPI's endpoints.
"""

from __future__ import annotations

import asyncio
import copy
import enum
import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FunctionType
from typing import Annotated, Any, cast

import msgspec
import pytest
import uvicorn
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient
from pydantic import TypeAdapter, ValidationError, create_model

import aioflags
from aioflags import (
    Client,
    Context,
    ErrorInfo,
    EvaluationDetail,
    FlagdClient,
    Flags,
    MobileClient,
    MobileConfig,
    NotReadyError,
    Reason,
    ReasonKind,
    SourceState,
    Status,
    StatusReport,
    devserver,
    hooks,
    migration,
    mobile,
    openfeature,
    otel,
    plugins,
    sources,
    stores,
    testing,
)
from aioflags.model.detail import FlagMetadata
from aioflags.model.values import NestingError
from aioflags.protocol.flag_documents import DocumentError
from aioflags.runtime.event_loops import StrayCancellationError
from aioflags.runtime.logs import logger
from aioflags.sources import Change, ChangeKind, ChangeSet, FailureKind, FallbackDirective, ObjectKind, Selector
from aioflags.stores.files import FolderMissingError
from aioflags.testing import toxics
from tests.package.surface import MODULES

ANNA = Context("anna", attributes={"plan": "pro", "tags": ["a"]}, private=["plan"])
RULE = Reason(kind=ReasonKind.RULE_MATCH, rule_index=0, rule_id="r", in_experiment=True)
METADATA = FlagMetadata({"team": "web"}, FlagMetadata({"flagSetId": "s"}))
DETAIL = EvaluationDetail("x", None, RULE, "on", METADATA, "no rule matched")
FAILURE = ErrorInfo(
    kind=FailureKind.ERROR_RESPONSE, message="401: is the key right?", time=1.0, status_code=401, address="http://x/a"
)
REPORT = StatusReport(seq=2, status=Status.FATAL, source_state=SourceState.OFF, since=0.0, source_since=0.5, last_error=FAILURE)
CHANGES = ChangeSet(kind=ChangeKind.FULL, changes=(Change(ObjectKind.FLAG, "gone", 3, None),), selector=Selector("s", 3))
DIRECTIVE = FallbackDirective(ttl=None, origin="header")
STAGE = EvaluationDetail(migration.Stage.LIVE, 0, RULE)
RESULT = migration.Result(origin=migration.Origin.OLD, is_success=True, value=[1])
FALLBACK = mobile.FallbackInfo(engaged=True, since=1.0, origin="header")
SDK = plugins.SdkMetadata(name="aioflags", version="1", wrapper_name=None, wrapper_version=None)
PATH = Path("/tmp/flags")


def local() -> Client:
    """A client with a flag."""
    return Client.local({"flagValues": {"on": True}})


async def mobile_environment() -> object:
    return MobileClient("mob-key", ANNA, MobileConfig(offline=True)).environment("default")


async def connection_of_a_mobile_client() -> object:
    async with testing.MemoryMobileClient() as client:
        return client.connection_info


async def wait() -> None:
    """Nothing."""


Makers = dict[type, Callable[[], Any]]

VALUES: Makers = {
    Context: lambda: ANNA,
    ErrorInfo: lambda: FAILURE,
    EvaluationDetail: lambda: DETAIL,
    Reason: lambda: RULE,
    StatusReport: lambda: REPORT,
    aioflags.BigSegments: lambda: aioflags.BigSegments(store=stores.RedisStore()),
    aioflags.Event: lambda: aioflags.Event(
        seq=1, kind=aioflags.EventKind.CONFIGURATION_CHANGED, report=REPORT, flags_changed=("a",), metadata=METADATA
    ),
    aioflags.Explanation: lambda: local().explain("on", ANNA),
    aioflags.FileOverrides: lambda: aioflags.FileOverrides(PATH),
    aioflags.Flag: lambda: aioflags.Flag("limits", default=[1]),
    aioflags.FlagChange: lambda: aioflags.FlagChange("on"),
    aioflags.FlagsState: lambda: local().all_flags_state(ANNA, with_reasons=True),
    aioflags.IdentifyResult: lambda: aioflags.IdentifyResult(aioflags.IdentifyStatus.ERROR, "no network"),
    aioflags.OverridesStatus: lambda: aioflags.OverridesStatus(flags={"on": "/tmp/a"}, problem=FAILURE),
    aioflags.Persistence: lambda: aioflags.Persistence(store=stores.RedisStore()),
    aioflags.StatusError: lambda: aioflags.StatusError(aioflags.ErrorCode.GENERAL, "closed"),
    aioflags.StoreStatus: lambda: aioflags.StoreStatus(available=True, stale=False),
    aioflags.ValueChange: lambda: aioflags.ValueChange("on", [1], {"a": None}),
    NotReadyError: lambda: NotReadyError("no flag data after 5 s", REPORT),
    devserver.Fault: lambda: devserver.Fault(kind=devserver.FaultKind.STATUS, times=1),
    devserver.Scenario: lambda: devserver.read_scenario({"steps": [{"lift": "all"}]}),
    hooks.EvaluationCall: lambda: hooks.EvaluationCall(
        key="on", context=ANNA, default_value=[1], method="variation", environment_id=None, flag_version=3
    ),
    hooks.IdentifyCall: lambda: hooks.IdentifyCall(context=ANNA, timeout=None),
    hooks.Metadata: lambda: hooks.Metadata("a hook"),
    hooks.TrackCall: lambda: hooks.TrackCall(key="a", context=ANNA, data=[1], metric_value=1.5, environment_id=None),
    migration.Failure: lambda: migration.Failure("refused"),
    migration.Result: lambda: RESULT,
    migration.WriteResult: lambda: migration.WriteResult(authoritative=RESULT, nonauthoritative=None),
    mobile.ConnectionInfo: connection_of_a_mobile_client,
    mobile.FallbackInfo: lambda: FALLBACK,
    plugins.ApplicationMetadata: lambda: plugins.ApplicationMetadata(id="shop", version=None),
    plugins.EnvironmentMetadata: lambda: plugins.EnvironmentMetadata(sdk=SDK, sdk_key="sdk-key", application=None),
    plugins.SdkMetadata: lambda: SDK,
    sources.Basis: lambda: sources.Basis(change_set=CHANGES, directive=DIRECTIVE),
    sources.Change: lambda: CHANGES.changes[0],
    sources.ChangeSet: lambda: CHANGES,
    sources.FallbackDirective: lambda: DIRECTIVE,
    sources.FetchFailure: lambda: sources.FetchFailure(error=FAILURE, directive=None),
    sources.Selector: lambda: CHANGES.selector,
    sources.Update: lambda: sources.Update(state=SourceState.VALID, directive=None, change_set=CHANGES),
    stores.DiskStore: lambda: stores.DiskStore(PATH),
    stores.DynamoDBStore: lambda: stores.DynamoDBStore("flags"),
    stores.StoreContext: lambda: stores.StoreContext(environment="e"),
    stores.StoredItem: lambda: stores.StoredItem(ObjectKind.FLAG, "a", 1, b"{}"),
    testing.Observation: lambda: testing.Observation("on", ANNA, False, DETAIL, {}, {}),
    testing.ObservedEvent: lambda: testing.ObservedEvent("track", "a", ANNA, {"n": 1}),
    testing.Schedule: lambda: testing.Schedule(seed=1),
    testing.ScheduledFault: lambda: testing.ScheduledFault(number=1, toxic=toxics.Refuse(), lasts=1.0, pause=0.0),
    toxics.Bandwidth: lambda: toxics.Bandwidth(rate=1),
    toxics.Latency: lambda: toxics.Latency(latency=1),
    toxics.LimitData: lambda: toxics.LimitData(bytes=1),
    toxics.Slicer: lambda: toxics.Slicer(average_size=3),
}
"""Values, options and exceptions that need arguments. A class that is in no list is made without arguments."""

HANDLES: Makers = {
    Client: local,
    FlagdClient: FlagdClient,
    Flags: lambda: local().flags_nowait(ANNA),
    MobileClient: lambda: MobileClient("mob-key", ANNA),
    devserver.RunningFlagd: lambda: devserver.RunningFlagd("127.0.0.1", 1, 2),
    devserver.RunningServer: lambda: devserver.RunningServer(
        uvicorn.Server(uvicorn.Config("app", log_config=None)), "127.0.0.1", 1
    ),
    devserver.ServerState: devserver.ServerState,
    migration.Migrator: lambda: migration.Migrator(
        local(), read_old=cast("Any", wait), read_new=cast("Any", wait), write_old=cast("Any", wait), write_new=cast("Any", wait)
    ),
    migration.OpTracker: lambda: migration.OpTracker("stage", ANNA, STAGE, migration.Stage.OFF, None, logger=logger),
    mobile.MobileEnvironment: mobile_environment,
    openfeature.AioFlagsProvider: lambda: openfeature.AioFlagsProvider(local()),
    otel.EventsHook: otel.EventsHook,
    otel.MetricsPlugin: otel.MetricsPlugin,
    sources.SourceContext: sources.SourceContext,
    testing.FakeFlagd: testing.FakeFlagd,
    testing.FaultProxy: lambda: testing.FaultProxy("http://127.0.0.1:1"),
    testing.FlagChangeLog: testing.FlagChangeLog,
    testing.FlagOverrides: testing.FlagOverrides,
    testing.FlagsService: testing.FlagsService,
    testing.MemoryClient: testing.MemoryClient,
    testing.MemoryMobileClient: testing.MemoryMobileClient,
    testing.VirtualTimeLoop: testing.VirtualTimeLoop,
    toxics.Wire: lambda: toxics.Wire("upstream", Random(1), asyncio.sleep, lambda: None),
}
"""What belongs to one process, by its nature."""

LEFT_TO_OTHERS = {
    "aioflags.asgi.FlagsMiddleware": "a part of an ASGI application, which may be pickled as its parts can",
    "aioflags.django.FlagsRequest": "a request of Django",
    "aioflags.django.RequestFlagsMiddleware": "a part of a Django application",
    "aioflags.litestar.FlagsPlugin": "a part of a Litestar application",
    "aioflags.sources.FileSource": "see tests/config/test_copies.py",
    "aioflags.sources.MemorySource": "see tests/config/test_copies.py: a shallow copy shares the flags, other copies are refused",
    "aioflags.stores.FileStorage": "see tests/config/test_copies.py",
    "aioflags.devserver.FlagFile": "it follows one file of the server",
}


def public_classes() -> dict[type, str]:
    """Every public class that a program can have an instance of, with its path."""
    classes: dict[type, str] = {}
    for name in (*MODULES, "aioflags.devserver"):
        module = importlib.import_module(name)
        for thing in (getattr(module, exported) for exported in module.__all__):
            if isinstance(thing, type) and thing.__module__.startswith("aioflags") and not getattr(thing, "_is_protocol", False):
                classes.setdefault(thing, f"{name}.{thing.__name__}")
    return classes


CLASSES = public_classes()
ENUMS = [cls for cls in CLASSES if issubclass(cls, enum.Enum)]
PLAIN: Makers = {cls: cls for cls, path in CLASSES.items() if cls not in {*VALUES, *HANDLES, *ENUMS} and path not in LEFT_TO_OTHERS}


def pickled(thing: object) -> object:
    """A copy by way of pickle."""
    return pickle.loads(pickle.dumps(thing))


DUPLICATES = [
    pytest.param(pickled, id="pickle"),
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
]


def made(make: Callable[[], Any]) -> Any:
    """What ``make`` returns, or awaits, on an event loop."""

    async def run() -> Any:
        thing = make()
        return await thing if asyncio.iscoroutine(thing) else thing

    return asyncio.run(run())


def parts(thing: object) -> Any:
    """What two things with the same content have in common, if their class does not compare contents."""
    if isinstance(thing, BaseException):
        return type(thing), str(thing), thing.args, parts(vars(thing))
    if isinstance(thing, msgspec.Struct):
        return type(thing), [parts(getattr(thing, name)) for name in thing.__struct_fields__]
    if isinstance(thing, dict):
        return {key: parts(value) for key, value in cast("dict[Any, object]", thing).items()}
    if type(thing).__eq__ is object.__eq__ and not isinstance(thing, (type, FunctionType)):
        slots = [slot for cls in type(thing).__mro__ for slot in getattr(cls, "__slots__", ()) if slot != "__weakref__"]
        return type(thing), parts(getattr(thing, "__dict__", {})), [parts(getattr(thing, slot)) for slot in slots]
    return thing


def refusal(duplicate: Callable[[Any], Any], thing: object) -> str:
    """Why it was refused; otherwise whether the twin has the same content."""
    try:
        twin = duplicate(thing)
    except Exception as error:  # noqa: BLE001 -- the result of the test
        return f"{type(error).__name__}: {error}"
    return "the same" if parts(twin) == parts(thing) else f"another content: {twin!r}"


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_every_public_value_and_exception_survives(duplicate: Callable[[Any], Any]) -> None:
    results = {CLASSES[cls]: refusal(duplicate, made(make)) for cls, make in (VALUES | PLAIN).items()}
    assert results == dict.fromkeys(results, "the same")
    assert all(duplicate(member) is member for kind in ENUMS for member in kind)


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_what_belongs_to_a_process_refuses_with_a_reason(duplicate: Callable[[Any], Any]) -> None:
    for make in HANDLES.values():
        handle = made(make)
        with pytest.raises(TypeError, match=rf"^{type(handle).__name__} objects cannot be pickled or copied: "):
            duplicate(handle)
        if isinstance(handle, asyncio.AbstractEventLoop):
            handle.close()


def test_the_lists_name_public_classes_only() -> None:
    assert {*VALUES, *HANDLES} <= CLASSES.keys()
    assert LEFT_TO_OTHERS.keys() <= set(CLASSES.values())


def test_an_exception_keeps_what_was_added_to_it() -> None:
    error = NotReadyError("no flag data", REPORT)
    error.add_note("in the worker of the shop")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (str(twin), twin.report, twin.__notes__) == (str(error), REPORT, ["in the worker of the shop"])


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize(
    "error",
    [
        DocumentError("expected a boolean", file="flags.json", path="flags.f.on"),
        DocumentError("the JSON ends too early", line=1, column=2),
        FolderMissingError("the folder /flags does not exist"),
        NestingError(),
        StrayCancellationError(),
    ],
    ids=str,
)
def test_an_exception_that_a_program_catches_by_a_public_class_survives(error: Exception, duplicate: Callable[[Any], Any]) -> None:
    twin = duplicate(error)
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


# -- pydantic and FastAPI

RETURNED: dict[Any, Any] = {
    EvaluationDetail[str]: DETAIL,
    aioflags.Stats: aioflags.Stats(events_sent=3),
    mobile.SourceInfo: mobile.SourceInfo(last_error=FAILURE),
    migration.Result[list[int]]: RESULT,
    migration.WriteResult[list[int]]: migration.WriteResult(authoritative=RESULT, nonauthoritative=None),
    **{
        cls: VALUES[cls]
        for cls in (
            Context,
            ErrorInfo,
            Reason,
            StatusReport,
            aioflags.Event,
            aioflags.Explanation,
            aioflags.FlagChange,
            aioflags.FlagsState,
            aioflags.IdentifyResult,
            aioflags.OverridesStatus,
            aioflags.StatusError,
            aioflags.StoreStatus,
            aioflags.ValueChange,
            mobile.ConnectionInfo,
            mobile.FallbackInfo,
            plugins.EnvironmentMetadata,
            testing.Observation,
            testing.ObservedEvent,
        )
    },
}
"""What clients, hooks and fixtures return, with the type that an endpoint names."""


def value_of(value: Any) -> Any:
    return made(value) if callable(value) else value


def returning(value: object) -> Callable[[], object]:
    """An endpoint that returns the value."""
    return lambda: value


def test_values_can_be_fields_of_models() -> None:
    for kind, value in RETURNED.items():
        found = value_of(value)
        model = create_model("Answer", found=(kind, ...))
        answer: Any = model(found=found)
        assert answer.found is found
        assert "found" in model.model_json_schema(mode="serialization")["properties"]
        if kind is not aioflags.FlagsState:  # its JSON is for front ends
            read: Any = model.model_validate_json(answer.model_dump_json())
            assert parts(read.found) == parts(found)


def test_values_are_written_alike_where_their_type_is_not_named() -> None:
    for kind, value in RETURNED.items():
        found = value_of(value)
        named, unnamed = (create_model("Answer", found=(annotation, found)) for annotation in (kind, Any))
        assert unnamed().model_dump_json() == named().model_dump_json()
        (schema,) = named.model_json_schema(mode="serialization")["properties"].values()
        assert schema["default"] == named().model_dump(mode="json")["found"]


@pytest.mark.slow
def test_values_do_not_import_pydantic() -> None:
    program = "import aioflags, sys; hasattr(aioflags.Context('a'), '__pydantic_serializer__'); print('pydantic' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        pytest.param(Context, {"kind": "org"}, "key: expected", id="an invalid context"),
        pytest.param(Context, "anna", "valid dictionary", id="a context of another type"),
        pytest.param(aioflags.FlagsState, {}, "expected an instance of FlagsState", id="a state, which only a client makes"),
        pytest.param(
            EvaluationDetail[int], {"value": "x", "variation_index": 0, "reason": {"kind": "OFF"}}, "integer", id="a value"
        ),
    ],
)
def test_data_that_are_not_a_value_are_refused(kind: Any, data: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TypeAdapter(kind).validate_python(data)


@pytest.mark.real_time
def test_values_can_be_the_results_of_endpoints() -> None:
    app = FastAPI()
    expected: dict[str, Any] = {}
    for number, (kind, value) in enumerate(RETURNED.items()):
        result = value_of(value)
        expected[f"/{number}"] = TypeAdapter(kind).dump_python(result, mode="json")
        app.get(f"/{number}", response_model=kind)(returning(result))
    with TestClient(app) as http:
        assert {path: http.get(path).json() for path in expected} == expected
        assert http.get("/openapi.json").json()["paths"].keys() == expected.keys()


@pytest.mark.real_time
def test_an_endpoint_takes_a_context() -> None:
    app = FastAPI()

    @app.post("/")
    def canonical_key(context: Annotated[Context, Body()]) -> str:
        return context.canonical_key

    with TestClient(app) as http:
        assert http.post("/", json={"kind": "org", "key": "acme", "plan": "pro"}).json() == "org:acme"
        assert http.post("/", json={"kind": "org"}).status_code == 422
