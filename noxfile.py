"""Sessions for developers and CI: tests, full, newest, interpreters, arq, lowest, lint, types, check, docs, bench,
proofs, reliability, rivals, fuzz, mutants; for a release: build, supply-chain, workflows, api, release.

``nox -s tests`` needs nothing but nox; with uv on the path, or beside nox, the environments are made by uv, which is faster.
Arguments after ``--`` go to the tool: ``nox -s tests -- -k directive``.

Tests have three tiers. ``nox -s tests`` runs all but those marked ``slow``, which take a second or more, and ``speed``, which
measure time. CI runs the same tests on the newest CPython, with coverage, and then those that measure time. ``nox -s full`` runs
the rest, too. CONTRIBUTING.md says what is in which tier.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "check", "docs"]
# Without this, uv looks for interpreters on the network and tries again and again where there is none to be had.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")

COVERED = (
    "model",
    "evaluation",
    "protocol",
    "transport",
    "stores",
    "sources",
    "events",
    "supervisor",
    "persistence",
)
"""Layers 0 to 5, whose lines must be covered."""
LEAST_COVERAGE = 98
AROUND = ("runtime", "client_core", "client", "conformance", "hooks", "integration")
"""Folders of tests that run those layers, too."""
INTERPRETERS = ("3.11", "3.12", "3.13", "3.14", "3.14t")
"""Versions of CPython that the tests run on, where they are installed."""
NOT_FREE_THREADED = (
    "aioflags[",
    "grpcio",
    "openfeature-provider-flagd",
    "awslambdaric",
    "celery",
    "ipykernel",
    "jupyter-client",
    "pyuwsgi",
    "taskiq",
)
"""Requirements of ``dev`` that a free-threaded CPython cannot meet: grpcio and google-re2 have no builds for it. The last six and
what they need are not tried there: the tests of recipes, which use them, run on one interpreter."""
PROOFS = (
    "tests/client_core/test_status_model.py",
    "tests/evaluation/flagd/test_differential.py",
    "tests/evaluation/flagd/test_whole_flags.py",
    "tests/mobile/test_machine.py",
)
"""Tests whose amount of random runs comes from the environment."""
SIDE_BY_SIDE = ("-q", "-n", str((os.cpu_count() or 1) * 3 // 2), "--dist", "worksteal")
"""Three processes on two cores: a third of the time tests wait for sockets and other processes."""
CAMPAIGNS = "--ignore=tests/reliability"
"""Left out where ``nox -s reliability`` does not run: these tests do more with each form of it."""
QUICK = ("-m", "not slow and not speed", CAMPAIGNS)
"""The first tier: everything that proves behaviour, without what waits or repeats."""
PEERS = ("launchdarkly-server-sdk[async]==9.20.0", "eppo-server-sdk==4.4.1", "statsig-python-core==0.24.0")
"""What aioflags is compared with. Pinned: raise one, and docs/explanation/performance.md needs a new table."""
FLAGD_PEER = "openfeature-provider-flagd==0.6.1"
_CLIENTS = (
    "aioflags.Client",
    "aioflags.MobileClient",
    "aioflags.FlagdClient",
    "aioflags.client.assembly",
    "aioflags.stores.DiskStore",
)
NEIGHBOURS = {
    "arq": ("redis", ["arq"], ["arq", "aioflags.stores.RedisStore"]),
    "Celery": ("redis", ["celery[redis]"], ["celery", "aioflags.stores.RedisStore"]),
    "newest FastAPI": ("server,watch", ["fastapi[standard]"], ["fastapi", "aioflags.fastapi"]),
    "oldest FastAPI": ("", ["fastapi==0.116.1"], ["fastapi", "aioflags.fastapi"]),
    "Django 4.2": ("", ["django>=4.2,<5"], ["django", "aioflags.django"]),
    "Google on protobuf 5": (
        "flagd,openfeature",
        ["google-cloud-pubsub", "google-cloud-storage", "protobuf>=5,<6"],
        ["google.cloud.pubsub_v1", "aioflags.transport.grpc_calls", "aioflags.openfeature.AioFlagsProvider"],
    ),
    "Google on protobuf 4": (
        "flagd",
        ["google-cloud-pubsub", "protobuf>=4,<5"],
        ["google.cloud.pubsub_v1", "aioflags.transport.grpc_calls"],
    ),
    "OpenTelemetry": (
        "flagd,otel",
        ["opentelemetry-sdk", "opentelemetry-exporter-otlp"],
        ["opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "aioflags.otel", "aioflags.transport.grpc_calls"],
    ),
    "LangChain": ("", ["langchain", "langchain-openai", "langchain-community"], ["langchain", "langchain_openai"]),
    "openai before httpx 0.28": ("", ["openai<1.50", "httpx<0.28"], ["openai"]),
    "s3fs": ("dynamodb", ["s3fs"], ["s3fs", "aioflags.stores.DynamoDBStore"]),
    "pandas": ("cli,yaml", ["pandas"], ["pandas", "aioflags.cli.main"]),
}
"""What programs have beside aioflags: the extras, what is installed with them, and what is imported then."""
LOWEST_BESIDE = ("django>", "fastapi>", "litestar>", "opentelemetry-sdk>", "pytest>")
"""Requirements of ``dev`` that ``nox -s lowest`` has at their lower bounds, too; it has the newest of the others. aiohttp is not
among them: aiobotocore 3.8 needs 3.12."""
ABOVE_LOWEST = {
    "celery": ("needs click 8.3.1 and redis-py 6.4", ["tests/recipes/test_queues.py"]),
    "taskiq-redis": ("needs redis-py 7", ["tests/recipes/test_queues.py"]),
    "grpcio-tools": (
        "needs protobuf 6.31",
        ["tests/transport/test_flagd_pb.py::test_the_generated_files_are_those_of_the_proto_files"],
    ),
    "openfeature-provider-flagd": (
        "needs grpcio 1.82, protobuf 7.35 and pyyaml 6.0.1",
        ["tests/devserver/flagd/test_reference_provider.py", "tests/docs/test_coming_from_flagd_provider.py"],
    ),
    "uvicorn-worker": (
        "needs uvicorn 0.36",
        [
            f"tests/recipes/test_servers.py::test_each_worker_has_a_client_that_follows_flags_and_sends_its_events[{case}]"
            for case in ("gunicorn, ASGI", "preloaded, ASGI")
        ],
    ),
}
"""Requirements of ``dev`` that need more than the lower bound of an extra, and the tests that use them. ``nox -s lowest`` installs
and runs neither, and names both."""


@nox.session
def tests(session: nox.Session) -> None:
    """The tests that prove behaviour: four minutes on two cores. ``-- -k directive`` runs what follows instead."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or (*SIDE_BY_SIDE, *QUICK)))


@nox.session
def speed(session: nox.Session) -> None:
    """The tests that measure time, one after another and alone: other tests would slow them."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-n", "0", "-m", "speed", CAMPAIGNS, *session.posargs)


@nox.session(venv_backend="none")
def full(session: nox.Session) -> None:
    """What ``nox -s tests`` leaves out: slow tests, all interpreters, campaigns of reliability, proofs, neighbours. An hour."""
    session.notify("tests", [*SIDE_BY_SIDE, "-m", "slow and not speed", CAMPAIGNS])
    versions = [f"interpreters(version='{version}')" for version in INTERPRETERS]
    programs = [f"neighbours({name.replace(' ', '-')})" for name in NEIGHBOURS]
    # A session with parameters is queued under its whole name: of the short one, nox takes the first alone.
    for name in ("speed", "newest", *versions, "reliability", "proofs", "arq", *programs, "lowest"):
        session.notify(name)


@nox.session(venv_backend="none")
@nox.parametrize("version", INTERPRETERS)
def interpreters(session: nox.Session, version: str) -> None:
    """The tests on every other CPython of this machine, a session each; ``-- tests/sources`` runs what follows instead.

    An interpreter is looked for on the path, among those of pyenv, and in ``AIOFLAGS_PYTHONS`` (paths with ``:`` in between).
    """
    if version == sysconfig.get_python_version() + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""):
        session.skip(f"nox -s tests tests on CPython {version}")
    if (interpreter := _interpreter(version)) is None:
        session.skip(f"CPython {version} is not on this machine")
    _test_on(session, version, interpreter)


@nox.session(venv_backend="none")
def newest(session: nox.Session) -> None:
    """The tests of layers 0 to 5 and of the core on the newest CPython of this machine with a GIL, with the coverage of the layers.

    From 3.12 on CPython tells coverage.py which lines run, from 3.14 on also which branches, which costs next to nothing. Tracing
    each line doubles the time.
    """
    found = {version: _interpreter(version) for version in INTERPRETERS if not version.endswith("t")}
    found[sysconfig.get_python_version()] = sys.executable
    number, version = max((tuple(map(int, version.split("."))), version) for version, path in found.items() if path)
    branches = ("--cov-branch",) if number >= (3, 14) else ()
    session.env["COVERAGE_CORE"] = "sysmon" if number >= (3, 12) else "ctrace"
    folders = (f"tests/{folder}" for folder in (*COVERED, *AROUND))
    python = _test_on(session, version, str(found[version]), *folders, "--cov", *branches, "--cov-report=")
    covered = ",".join(f"aioflags/{folder}/*" for folder in COVERED)
    report = ("coverage", "report", "--skip-covered", f"--include={covered}", f"--fail-under={LEAST_COVERAGE}")
    session.run(python, "-m", *report, external=True)


def _test_on(session: nox.Session, version: str, interpreter: str, *options: str) -> str:
    """Run the tests on one CPython, and return its path in an environment; free-threaded, it has no gRPC and no RE2."""
    folder = Path(".nox", f"interpreter-{version}")
    python = str(folder / "bin" / "python")
    session.run(interpreter, "-m", "venv", "--clear", "--without-pip", str(folder), external=True)
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    install = [uv, "pip", "install", "--python", python] if uv else [sys.executable, "-m", "pip", "--python", python, "install"]
    packages, env = (".[dev]",), {}
    if version.endswith("t"):
        dev = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
        others = (name for name in dev if not name.startswith(NOT_FREE_THREADED))
        # Extension modules that do not know free threading switch the GIL on, unless that is forbidden.
        packages, env = (".[demo,docs,dynamodb,openfeature,otel,redis,sentry,watch,yaml]", "protobuf", *others), {"PYTHON_GIL": "0"}
    session.run(*install, "-q", "-e", *packages, external=True)
    chosen = session.posargs or (*QUICK, *options)
    session.run(python, "-m", "pytest", *SIDE_BY_SIDE, *chosen, env=env, external=True)
    return python


@nox.session(venv_backend="uv")
@nox.parametrize("name", list(NEIGHBOURS), ids=[name.replace(" ", "-") for name in NEIGHBOURS])
def neighbours(session: nox.Session, name: str) -> None:
    """Aioflags beside what programs have, an environment each: there is a solution, and imports work. Needs uv."""
    extras, packages, names = NEIGHBOURS[name]
    session.run("uv", "venv", "--clear", "-q", session.virtualenv.location, external=True)
    session.run("uv", "pip", "install", "-q", f"aioflags[{extras}] @ {Path.cwd().as_uri()}", *packages, external=True)
    session.run("python", "-c", "import pkgutil, sys; [pkgutil.resolve_name(name) for name in sys.argv[1:]]", *_CLIENTS, *names)


@nox.session
def arq(session: nox.Session) -> None:
    """The recipe for arq, whose worker runs in an environment of its own: arq and the other queues need different redis-py."""
    session.install("-e", ".[dev]")
    folder = Path(session.create_tmp(), "arq")
    python = str(folder / "bin" / "python")
    session.run("python", "-m", "venv", "--clear", str(folder))
    session.run(python, "-m", "pip", "install", "-q", "-e", ".", "arq>=0.28", external=True)
    session.run(
        "pytest", "-q", "tests/recipes/test_queues.py", "-k", "arq", env={"AIOFLAGS_ARQ_PYTHON": str(Path(python).absolute())}
    )


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions that pyproject.toml allows for the core and its extras. Needs uv; after a change of one.

    It fails before the tests if another version is installed. What it leaves out is in ``ABOVE_LOWEST``.
    """
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    dev = [text for text in extras.pop("dev") if not text.startswith(("aioflags[", *ABOVE_LOWEST))]
    bounded = [text for text in chain(project["dependencies"], *extras.values()) if not text.startswith("aioflags[")]
    pins = [_lowest(text) for text in bounded]
    beside = [_lowest(text) if text.startswith(LOWEST_BESIDE) else text for text in dev]
    session.run("uv", "venv", "--clear", "-q", session.virtualenv.location, external=True)
    session.run("uv", "pip", "install", "-q", "-e", f".[{','.join(extras)}]", *pins, *beside, external=True)
    frozen = str(session.run("uv", "pip", "freeze", silent=True, external=True))
    versions = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    for pin in map(Requirement, pins):
        if not pin.specifier.contains(version := versions.get(pin.name, "0")):
            session.error(f"{pin.name} {version} is installed, and the lower bound in pyproject.toml is {pin.specifier}")
    left_out: list[str] = []
    for name, (reason, places) in ABOVE_LOWEST.items():
        session.warn(f"left out, because {name} {reason}: {', '.join(places)}")
        left_out += [f"--{'deselect' if '::' in place else 'ignore'}={place}" for place in places]
    session.run("pytest", *SIDE_BY_SIDE, *(session.posargs or QUICK), *left_out)


def _lowest(requirement: str) -> str:
    """``httpx==0.27.1`` for ``httpx>=0.27.1,<1``."""
    return requirement.partition(",")[0].replace(">=", "==")


def _interpreter(version: str) -> str | None:
    """The path of a CPython of that version that runs; a shim of pyenv may be there and not run."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    given = [path for path in os.environ.get("AIOFLAGS_PYTHONS", "").split(os.pathsep) if Path(path).name == name]
    for path in (*given, shutil.which(name), *map(str, sorted(pyenv.glob(f"*/bin/{name}"), reverse=True))):
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:  # noqa: S603 -- a python
            return path
    return None


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format; ``nox -s lint -- --fix`` corrects what it can."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Two type checkers, and that everything public has a type."""
    session.install("-e", ".[dev]", "nox")
    with ThreadPoolExecutor() as side_by_side:
        run = side_by_side.submit(session.run, "mypy")
        session.run("pyright")
        session.run("pyright", "--verifytypes", "aioflags", "--ignoreexternal")
        run.result()


@nox.session(venv_backend="none")
def check(session: nox.Session) -> None:
    """Checks that do not run the code: lint and types."""
    session.notify("lint")
    session.notify("types")


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the site into docs/_build/html, with warnings as errors, and tests the documents: links, examples, tables."""
    session.install("-e", ".[dev]")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "docs", "docs/_build/html")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The peers beside aioflags, as ratios within one run; ``nox -s bench -- --quick`` shows that it runs."""
    session.install("-e", ".", *PEERS)
    session.run("python", "-m", "tests.benchmarks", *session.posargs)
    session.run("python", "-m", "tests.benchmarks.middleware")
    # Installed last: more packages make imports slower, which the first command measures.
    session.install("-e", ".[flagd,openfeature]", FLAGD_PEER)
    session.run("python", "-m", "tests.benchmarks.openfeature")
    session.run("python", "-m", "tests.benchmarks.flagd")


@nox.session
def proofs(session: nox.Session) -> None:
    """10,000 runs of the status and of mobile clients; 50,000 rules and 50,000 whole flags beside ``openfeature-flagd-core``.

    Ten minutes on two cores. ``AIOFLAGS_SEED`` and ``AIOFLAGS_DIFFERENTIAL_SEED`` choose other runs.
    """
    session.install("-e", ".[dev]")
    amounts = {"AIOFLAGS_SEEDS": "10000", "AIOFLAGS_DIFFERENTIAL": "50000"}
    session.run("pytest", "-n", "auto", "--timeout", "900", *(session.posargs or PROOFS), env=amounts)


@nox.session
def reliability(session: nox.Session) -> None:
    """The scoreboard, which is tests that hold a rule ``RB-R…``: ``-- --smoke`` (3 minutes), ``--quick`` (the default), ``--full``.

    ``-- --full R3 R20`` runs a slice of these lines alone. Tests that measure time run last, one after another.
    ``nox -s reliability -P 3.14 -- --smoke`` runs it on another CPython, named by its version or its path.
    """
    session.install("-e", ".[dev]")
    forms = [argument[2:] for argument in session.posargs if argument.startswith("--")] or ["quick"]
    lines = [argument for argument in session.posargs if not argument.startswith("--")]
    # Not in session.create_tmp(): that would be TMPDIR for the tests, and too long for the paths of their Unix sockets.
    results = Path(session.virtualenv.location, "reliability.json")
    results.unlink(missing_ok=True)
    env = {
        "AIOFLAGS_RELIABILITY": forms[0],
        "AIOFLAGS_RELIABILITY_LINES": ",".join(lines),
        "AIOFLAGS_RELIABILITY_RESULTS": str(results.resolve()),
    }
    nothing_chosen = 5  # pytest's exit status: a line may have no test of one of the two kinds
    limit = ("--timeout", "0") if forms[0] == "full" else ()
    codes = [0, 1, nothing_chosen]  # the report decides
    processes = str(2 * (os.cpu_count() or 1))  # half of the time these tests wait for sockets and pauses
    many = ("-n", processes, "--dist", "worksteal", "-m", "not speed")
    session.run("pytest", "-q", *many, *limit, env=env, success_codes=codes)
    session.run("pytest", "-q", "-n", "0", "-m", "speed", *limit, env=env, success_codes=codes)
    session.run("python", "-m", "tests.reliability", str(results), env=env)


@nox.session
def rivals(session: nox.Session) -> None:
    """Lines of the scoreboard for other SDKs, for docs/explanation/reliability.md: five minutes. ``-- 60``: longer outages."""
    session.install("-e", ".[flagd,server]", PEERS[0], FLAGD_PEER)
    session.run("python", "-m", "tests.reliability.rivals", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Looks for inputs that break what reads them, a minute for each target, or ``-- sse --seconds 600``. CPython 3.11 to 3.13."""
    session.install("-e", ".[dev]", "atheris")
    targets = session.posargs or str(session.run("python", "-m", "tests.reliability.fuzz", silent=True)).split()
    for arguments in [targets] if session.posargs else [[target] for target in targets]:
        session.run("python", "-m", "tests.reliability.fuzz", *arguments)


@nox.session
def mutants(session: nox.Session) -> None:
    """Deliberate mistakes, and whether a test notices them: docs/contributing/mutants.md. Hours; less with a pattern of names."""
    session.install("-e", ".[dev]", "mutmut==3.8.1")
    session.run("mutmut", "run", *session.posargs)
    session.run("python", "-m", "tests.meta.mutants", "--again", *session.posargs[:1], "--show", *session.posargs[:1])


@nox.session
def build(session: nox.Session) -> None:
    """An sdist and a wheel in dist/, built twice; the wheel, installed, on every CPython of this machine, or ``-- 3.11``."""
    wheel = _built(session)
    versions = session.posargs or INTERPRETERS
    found = {version: _interpreter(version) for version in versions}
    if missing := [version for version, interpreter in found.items() if interpreter is None]:
        session.warn(f"not on this machine: CPython {', '.join(missing)}")
    interpreters = [interpreter for interpreter in found.values() if interpreter]
    if not interpreters or (missing and session.posargs):
        session.error("the wheel was not tried on each interpreter that was asked for")
    session.run("python", "-m", "tests.release.installed", wheel, *interpreters)


def _built(session: nox.Session) -> str:
    """The path of a wheel that was built twice and checked."""
    backend = nox.project.load_toml("pyproject.toml")["build-system"]["requires"]
    session.install("build>=1.2", "check-wheel-contents>=0.6", "twine>=6.1", "uv>=0.5", *backend)
    session.run("python", "-m", "tests.release.build")
    (wheel,) = Path("dist").glob("*.whl")
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
    session.run("check-wheel-contents", str(wheel))
    return str(wheel)


@nox.session(name="supply-chain")
def supply_chain(session: nox.Session) -> None:
    """What the wheel with all extras brings: a list (SBOM, CycloneDX) in sbom/, licences, known vulnerabilities.

    Fails where the service for vulnerabilities cannot be reached, after the rest is done.
    """
    wheel = _built(session)
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"].keys() - {"dev", "docs"}
    folder = Path(session.create_tmp(), "environment").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    session.install("cyclonedx-bom>=7", "pip-audit>=2.9", "pip")
    session.run("python", "-m", "pip", "--python", python, "install", "-q", f"{wheel}[{','.join(sorted(extras))}]")
    Path("sbom").mkdir(exist_ok=True)
    name = f"sbom/{Path(wheel).name.partition('-py3')[0]}.cdx.json"
    session.run(
        "cyclonedx-py", "environment", "--output-reproducible", "--of", "JSON", "--pyproject", "pyproject.toml", "-o", name, python
    )
    session.run("python", "-m", "tests.release.licences", python)
    session.run("python", "-m", "tests.release.audit", str(next(folder.glob("lib/python*/site-packages"))))


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows of the continuous integration have no known weakness: zizmor, without a network."""
    session.install("zizmor>=1.20")
    session.run("zizmor", "--offline", "--pedantic", "--strict-collection", ".github")


@nox.session
def api(session: nox.Session) -> None:
    """What this commit breaks of the last release's public API, found by griffe."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "tests.release.breaking")


@nox.session
def release(session: nox.Session) -> None:
    """Whether this commit may be published as a tag: ``-- v0.1.0``. docs/contributing/releasing.md has the steps."""
    session.install("-e", ".")
    session.run("python", "-m", "tests.release.readiness", *session.posargs)
