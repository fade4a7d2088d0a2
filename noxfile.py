"""Sessions for developers and CI: tests, lint, types, check, docs, bench, mutants.

``nox -s tests`` needs nothing but nox; with uv on the path the environments are made by uv, which is faster.
Arguments after ``--`` go to the tool: ``nox -s tests -- -k directive``.
"""

from __future__ import annotations

import os

import nox

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
    "big_segments",
)
"""Layers 0 to 5, whose branches must be covered."""
LEAST_COVERAGE = 95
PEERS = ("launchdarkly-server-sdk[async]==9.18.2", "eppo-server-sdk==4.4.1", "statsig-python-core==0.24.0")
"""What aioflags is compared with. Pinned: raise one, and docs/explanation/performance.md needs a new table."""


@nox.session
def tests(session: nox.Session) -> None:
    """Every test; without arguments also the branch coverage of layers 0 to 5.

    Tests that measure time run last and alone: other tests and coverage would slow them.
    """
    session.install("-e", ".[dev]")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "-n", "auto", "-m", "not speed", "--cov", "--cov-branch", "--cov-report=")
    covered = ",".join(f"aioflags/{folder}/*" for folder in COVERED)
    session.run("coverage", "report", f"--include={covered}", f"--fail-under={LEAST_COVERAGE}")
    session.run("pytest", "-n", "0", "-m", "speed")


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
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "aioflags", "--ignoreexternal")


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


@nox.session
def mutants(session: nox.Session) -> None:
    """Deliberate mistakes, and whether a test notices them: docs/contributing/mutants.md. An hour; less with a pattern of names."""
    session.install("-e", ".[dev]", "mutmut==3.8.1")
    session.run("mutmut", "run", *session.posargs)
    session.run("python", "-m", "tests.meta.mutants", "--again", *session.posargs[:1], "--show", *session.posargs[:1])
