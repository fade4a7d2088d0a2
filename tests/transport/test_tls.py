"""The TLS context of clients: shared where it has only the certificates of the system; the environment variables of OpenSSL."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import certifi
import pytest

from aioflags.errors import ConfigError
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.transport.settings import Http
from aioflags.transport.tls import TlsContext, certificate_problems, read_certificates, root_certificates, warn_once

LOG = logging.getLogger("aioflags.tests")
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def context_of(settings: Http) -> ssl.SSLContext:
    return asyncio.run(TlsContext(settings, LOG, SerialThread("tls")).get())


def authorities(context: ssl.SSLContext) -> int:
    return context.cert_store_stats()["x509_ca"]


def bundled() -> int:
    """How many authorities certifi has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return authorities(context)


def test_clients_share_the_certificates_of_the_system() -> None:
    """Reading them takes some 20 ms, and two hundred clients may start together."""
    context = context_of(Http())
    assert context_of(Http(connect_timeout=3)) is context


async def test_two_connections_that_open_at_once_share_a_context(ca_file: str) -> None:
    tls = TlsContext(Http(ca_certs=ca_file), LOG, SerialThread("tls"))
    first, second = await asyncio.gather(tls.get(), tls.get())
    assert first is second


def test_other_certificates_are_not_shared(ca_file: str) -> None:
    context = context_of(Http())
    own = ssl.create_default_context()
    for settings in (Http(ca_certs=ca_file), Http(disable_ssl_verification=True), Http(ssl_context=own)):
        assert context_of(settings) is not context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_context_has_the_settings_of_pythons_default() -> None:
    names = ("verify_mode", "check_hostname", "verify_flags", "options", "minimum_version", "maximum_version", "protocol")
    ours, pythons = context_of(Http()), ssl.create_default_context()
    assert {name: getattr(ours, name) for name in names} == {name: getattr(pythons, name) for name in names}
    assert authorities(ours) >= authorities(pythons)


def test_a_change_of_the_environment_counts_for_the_next_client(monkeypatch: pytest.MonkeyPatch, ca_file: str) -> None:
    before = context_of(Http())
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert context_of(Http()) is not before


# -- variables that cannot be used

Make = Callable[[Path], object]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _nothing(_: Path) -> None:
    """Leave it absent."""


def _into_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "absent" / "x")


def _holding(content: bytes) -> Make:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


BROKEN = b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
NO_FIFOS = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
UNUSABLE_FILES = [
    pytest.param(_nothing, "No such file or directory", id="missing"),
    pytest.param(_holding(b""), "not a PEM file", id="empty"),
    pytest.param(_holding(b"canary"), "not a PEM file", id="text"),
    pytest.param(_holding(bytes(range(256))), "not a PEM file", id="binary"),
    pytest.param(_holding(BROKEN), "not a PEM file", id="broken"),
    pytest.param(Path.mkdir, "Is a directory", id="a folder"),
    pytest.param(_loop, "symbolic links", id="a link to itself"),
    pytest.param(_fifo, "a FIFO", id="a FIFO", marks=NO_FIFOS),
]
UNUSABLE_FOLDERS = [
    pytest.param(_nothing, "No such file or directory", id="missing"),
    pytest.param(Path.mkdir, "openssl rehash", id="empty"),
    pytest.param(_holding(b"x"), "Not a directory", id="a file"),
]
UNUSABLE_KEY_LOGS = [
    pytest.param(Path.mkdir, "Is a directory", id="a folder"),
    pytest.param(_into_nowhere, "No such file or directory", id="no folder"),
    pytest.param(_fifo, "a FIFO", id="a FIFO", marks=NO_FIFOS),
]


def warned(monkeypatch: pytest.MonkeyPatch, variable: str, path: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The one line that two clients log together."""
    monkeypatch.setenv(variable, str(path))
    for _ in range(2):
        context_of(Http())
        context_of(Http(cert_file=None, disable_ssl_verification=True))
    (line,) = [record.getMessage() for record in caplog.records if variable in record.getMessage()]
    assert str(path) in line
    return line


@pytest.mark.parametrize(("make", "reason"), UNUSABLE_FILES)
def test_a_file_that_cannot_be_used_is_named_once_and_others_are_trusted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, make: Make, reason: str
) -> None:
    make(tmp_path / "ca.pem")
    assert reason in warned(monkeypatch, "SSL_CERT_FILE", tmp_path / "ca.pem", caplog)
    assert authorities(context_of(Http())) >= bundled()


@pytest.mark.parametrize(("make", "reason"), UNUSABLE_FOLDERS)
def test_a_folder_that_cannot_be_used_is_named_once_and_others_are_trusted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, make: Make, reason: str
) -> None:
    make(tmp_path / "certs")
    assert reason in warned(monkeypatch, "SSL_CERT_DIR", tmp_path / "certs", caplog)
    assert authorities(context_of(Http())) >= bundled()


@pytest.mark.parametrize(("make", "reason"), UNUSABLE_KEY_LOGS)
def test_a_key_log_that_cannot_be_written_is_named_once_and_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, make: Make, reason: str
) -> None:
    make(tmp_path / "keys.log")
    assert reason in warned(monkeypatch, "SSLKEYLOGFILE", tmp_path / "keys.log", caplog)
    assert context_of(Http()).keylog_filename is None


def test_a_key_log_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    assert context_of(Http()).keylog_filename == str(tmp_path / "keys.log")
    assert certificate_problems(Http()) == ()


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    before = authorities(context_of(Http()))
    monkeypatch.setenv(variable, "")
    assert (certificate_problems(Http()), authorities(context_of(Http())), root_certificates(partial(warn_once, LOG))) == (
        (),
        before,
        None,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a store of its own, too")
def test_usable_variables_replace_the_certificates_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca_file: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "0123abcd.0").write_bytes(Path(ca_file).read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    folders = [str(tmp_path / name) for name in ("absent", "empty", "certs")]
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(folders))
    assert (authorities(context_of(Http())), certificate_problems(Http())) == (1, ())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a store of its own, too")
def test_beside_a_usable_variable_the_bundled_certificates_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca_file: str
) -> None:
    """The program has chosen whom it trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "absent"))
    assert authorities(context_of(Http())) == 1
    assert len(certificate_problems(Http())) == 1


def test_the_option_replaces_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca_file: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
    assert (authorities(context_of(Http(ca_certs=ca_file))), certificate_problems(Http(ca_certs=ca_file))) == (1, ())


@pytest.mark.parametrize("option", ["ca_certs", "cert_file"])
@pytest.mark.parametrize("path", ["absent.pem", ".", "a\0b"])
def test_a_certificate_of_an_option_that_cannot_be_read_is_a_config_error(tmp_path: Path, option: str, path: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: "):
        context_of(Http(**{option: str(tmp_path / path)}))  # type: ignore[arg-type]  # options by name


# -- gRPC


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"])
@pytest.mark.parametrize(("make", "reason"), UNUSABLE_FILES)
def test_grpc_never_reads_a_file_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, variable: str, make: Make, reason: str
) -> None:
    """It would end the process if the path is that of a folder."""
    make(tmp_path / "ca.pem")
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    roots = [root_certificates(partial(warn_once, LOG)) for _ in range(2)]
    expected = None if variable == "SSL_CERT_FILE" else Path(certifi.where()).read_bytes()
    assert roots == [expected, expected]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{variable}: {tmp_path / 'ca.pem'} cannot be used: ")
    assert reason in line


def test_a_bundle_may_have_comments_in_any_language(tmp_path: Path, ca_file: str) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Főtanúsítvány\n".encode() + Path(ca_file).read_bytes())
    assert read_certificates(str(bundle)) == bundle.read_bytes()
    assert authorities(context_of(Http(ca_certs=str(bundle)))) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"])
def test_grpc_trusts_the_certificates_of_a_variable(monkeypatch: pytest.MonkeyPatch, ca_file: str, variable: str) -> None:
    monkeypatch.setenv(variable, ca_file)
    assert root_certificates(partial(warn_once, LOG)) == Path(ca_file).read_bytes()


def test_the_variable_of_grpc_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca_file: str) -> None:
    (tmp_path / "other.pem").write_bytes(Path(certifi.where()).read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", ca_file)
    assert root_certificates(partial(warn_once, LOG)) == Path(ca_file).read_bytes()
