"""Public names: loaded at their first use, and shown with the path that a program imports them from."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
import subprocess
import sys
import typing
from types import FunctionType, ModuleType
from typing import Any

import pytest

import aioflags
from aioflags import Client, Config, Context, ErrorInfo, LifecycleError, Status, devserver, migration, sources, stores, testing
from aioflags.sources import FailureKind, Selector
from aioflags.transport.http_client import HttpClient

PACKAGES = (aioflags, sources, stores, migration, testing, devserver)
EXPORTS: dict[str, Any] = {f"{package.__name__}.{name}": getattr(package, name) for package in PACKAGES for name in package.__all__}
PUBLIC = {path: value for path, value in EXPORTS.items() if isinstance(value, (type, FunctionType))}
CLASSES = {path: value for path, value in PUBLIC.items() if isinstance(value, type)}


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_class_or_function_names_a_module_that_exports_it(path: str) -> None:
    value = PUBLIC[path]
    assert value.__module__ in {package.__name__ for package in PACKAGES}
    assert EXPORTS[f"{value.__module__}.{value.__name__}"] is value


@pytest.mark.parametrize("path", CLASSES)
def test_the_type_hints_of_a_public_class_can_be_read(path: str) -> None:
    hints = typing.get_type_hints(CLASSES[path], localns={"HttpClient": HttpClient})
    assert not [hint for hint in hints.values() if isinstance(hint, (str, typing.ForwardRef))]


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_class_or_function_can_be_pickled_by_its_name(path: str) -> None:
    assert pickle.loads(pickle.dumps(PUBLIC[path])) is PUBLIC[path]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Context("a", attributes={"plan": "pro"}), id="a context"),
        pytest.param(ErrorInfo(kind=FailureKind.UNKNOWN, message="m", time=0.0), id="a dataclass with a member of an enumeration"),
        pytest.param(Status.READY, id="a member of an enumeration"),
        pytest.param(Selector(state="s", version=3), id="a value of a source"),
    ],
)
def test_a_public_value_can_be_pickled(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_dataclasses_keep_their_fields_signatures_and_copies() -> None:
    config = dataclasses.replace(Config(), start_wait=3)
    assert config.start_wait == 3
    assert [field.name for field in dataclasses.fields(config)][:2] == ["base_uri", "stream_uri"]
    assert typing.get_type_hints(Config)["start_wait"] is float
    assert re.search(r"start_wait: '?float'?", str(inspect.signature(Config)))


def test_an_exception_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(LifecycleError("closed")))
    assert (type(error), str(error)) == (LifecycleError, "closed")


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        pytest.param("from aioflags import Client", "aioflags", id="shown by its public path once a client can be made"),
        pytest.param("import aioflags.errors", "aioflags.errors", id="shown by its own path if only its module is loaded"),
    ],
)
def test_an_exception_is_shown_by_the_path_of_a_loaded_module(statement: str, shown: str) -> None:
    program = f"{statement}\nimport sys\nprint(sys.modules['aioflags.errors'].LifecycleError.__module__)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == shown


def test_importing_the_package_loads_only_the_lazy_loader() -> None:
    program = "import sys, aioflags; print(sorted(name for name in sys.modules if name.startswith('aioflags')))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['aioflags', 'aioflags.runtime', 'aioflags.runtime.lazy']"


@pytest.mark.parametrize("order", ["sorted", "reversed"])
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_public_names_can_be_imported_in_any_order(package: ModuleType, order: str) -> None:
    """On CPython 3.14, msgspec reads the annotations of a struct in the module that its ``__module__`` names at that time."""
    names = sorted(package.__all__, reverse=order == "reversed")
    ended = subprocess.run([sys.executable, "-c", f"from {package.__name__} import {', '.join(names)}"], check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param(
            ("aioflags.client.assembly", "aioflags.client_core.lifecycle", "aioflags.client_core.evaluator"),
            id="what a client is made of",
        ),
        pytest.param(("aioflags.evaluation.", "aioflags.protocol.fdv", "aioflags.supervisor."), id="the evaluation and its data"),
        pytest.param(("aioflags.sources.", "aioflags.transport.http", "aioflags.events.recorder"), id="sources and events"),
        pytest.param(("aioflags.persistence.", "aioflags.big_segments."), id="stores and big segments"),
        pytest.param(("httpx", "httpcore", "anyio.lowlevel", "anyio._backends"), id="the libraries of the network"),
        pytest.param(("email", "http", "json", "difflib"), id="large modules of the standard library"),
    ],
)
def test_importing_the_client_does_not_load(left_out: tuple[str, ...]) -> None:
    # Old versions of these two load more than new ones.
    imports = "import sys, anyio, msgspec; old = {*sys.modules}; from aioflags import Client, Config, Context"
    program = f"{imports}; print(*{{*sys.modules}} - old)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in ended.stdout.split() if name.startswith(left_out)] == []


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        pytest.param("", ("aioflags.protocol.flag_documents", "aioflags.sources.memory", "aioflags.sources.file"), id="documents"),
        pytest.param("", ("aioflags.persistence.", "aioflags.stores.items"), id="a store that is not configured"),
        pytest.param("", ("aioflags.big_segments.",), id="big segments that are not configured"),
        pytest.param("", ("httpx", "httpcore"), id="HTTP before the start"),
        pytest.param("offline=True", ("httpx", "httpcore"), id="HTTP while offline"),
    ],
)
def test_a_new_client_does_not_load(options: str, left_out: tuple[str, ...]) -> None:
    program = f"import sys; from aioflags import Client, Config; Client('key', Config({options})); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in ended.stdout.split() if name.startswith(left_out)] == []


USES = """
import asyncio, sys
from aioflags import Client, Context

async def main():
    anna = Context("anna")
    async with Client.local({"flagValues": {"on": True, "text": "hello", "list": [1], "stage": "live"}}) as client:
        before = set(sys.modules)
        for key, default in (("on", False), ("text", ""), ("list", None), ("text", 1), ("onn", False)):
            client.variation_nowait(key, anna, default)
            await client.variation_detail(key, anna, default)
        flags = await client.flags(anna)
        flags.variation("on", False), flags.all()
        (await client.all_flags_state(anna, with_reasons=True)).to_json_dict()
        await client.explain("on", anna)
        await client.migration_variation("stage", anna, "off")
        client.track("clicked", anna, {"page": 1}), client.identify(anna), client.secure_mode_hash(anna)
        client.changes(), client.changes("on", anna), client.reports(), client.big_segments_statuses()
        print(*sorted(set(sys.modules) - before))

asyncio.run(main())
"""


def test_a_started_client_loads_nothing_while_it_is_used() -> None:
    ended = subprocess.run([sys.executable, "-c", USES], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


@pytest.mark.parametrize("method", [Client.__init__, Client.variation, Client.changes, Client.explain, Client.start])
def test_the_type_hints_of_a_method_can_be_read(method: Any) -> None:
    assert typing.get_type_hints(method)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_loaded_name_is_an_attribute_of_the_package(package: ModuleType) -> None:
    for name in package.__all__:
        assert vars(package)[name] is getattr(package, name)
