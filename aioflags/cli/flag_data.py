"""The flags of a command: from a file, or, with ``--live`` or ``--flagd``, from a server.

No network without these options.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from aioflags.cli.options import FRACTIONAL_OPTION, OVERRIDES_MISPLACED, check_overrides, with_overrides
from aioflags.cli.usage_errors import UsageMistake, check_keys, file_mistakes
from aioflags.client.client import Client
from aioflags.client_core.base_client import BaseClient
from aioflags.config.config import MOBILE_KEYS, Config, from_environment, with_environment
from aioflags.config.data_system import DataSystem
from aioflags.errors import ConfigError
from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.flagd.fractional import LATEST_VERSION
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.options import Events
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.mobile.config import OPTIONS as MOBILE_OPTIONS
from aioflags.mobile.config import MobileConfig
from aioflags.model.context import Context
from aioflags.model.flagd import FractionalVersion
from aioflags.model.secret import SdkKey
from aioflags.protocol.flag_documents import read_flag_document
from aioflags.runtime.files import read_regular
from aioflags.runtime.logs import SILENT
from aioflags.runtime.logs import logger as package_logger
from aioflags.sources import FileSource

FLAGD: Final = "flagd"
"""The name of the dialect of files in flagd's format."""
_CHECK_INTERVAL: Final = 0.25
"""Seconds. A person waits for the effect of an edit; flagd's clients check every 5 s."""
_OFREP_POLL_INTERVAL: Final = 1.0
"""Seconds. The server may have no event stream."""


@dataclass(frozen=True, slots=True)
class FlagData:
    """The file with the flags; ``None`` for a server. ``is_flagd``: the file is in flagd's format, or the server is flagd.

    ``fractional``: the version of ``fractional`` for flags of flagd; ``None`` for the default. ``overrides``: files with overrides,
    for flags of LaunchDarkly.
    """

    file: Path | None
    is_flagd: bool = False
    fractional: FractionalVersion | None = None
    overrides: tuple[Path, ...] = ()

    def client(self, log: logging.Logger = package_logger) -> BaseClient:
        """A client with these flags. Raises :class:`UsageMistake` if the environment has no SDK key, or a mobile key.

        ``log`` gets the messages of a client for flagd, for example the mistakes in all flags.
        """
        if self.file is None and self.is_flagd:
            return _flagd_client(flagd_service(log, fractional=self.fractional))
        if self.file is not None and self.is_flagd:
            path = str(self.file)
            interval = _CHECK_INTERVAL
            return FlagdClient(
                FlagdConfig(
                    resolver="file",
                    offline_flag_source_path=path,
                    offline_poll_interval=interval,
                    fractional_version=self.fractional or LATEST_VERSION,
                    logger=log,
                    environment={},
                )
            )
        if self.file is not None:
            config = Config(data_system=DataSystem.custom(synchronizers=[FileSource(self.file)]))
            return Client("", with_overrides(config, self.overrides))
        key, config = service()
        if SdkKey(key).is_mobile or (not key and os.environ.get("LAUNCHDARKLY_MOBILE_KEY")):
            raise UsageMistake(
                "a mobile key gets values, without the flags: set LAUNCHDARKLY_SDK_KEY to an SDK key (sdk-…); "
                "aioflags doctor --mobile checks a mobile key"
            )
        if not key:
            raise UsageMistake("no SDK key: set the environment variable LAUNCHDARKLY_SDK_KEY; for flagd use --flagd")
        # Experiments count the evaluations of programs, not of a command.
        config = replace(config, events=Events(send_events=False))
        return Client(key, with_overrides(config, self.overrides))

    def watched_client(self, context: Context | None) -> BaseClient:
        """A client that reports changes of these flags. With OFREP it evaluates them for this context alone.

        Raises:
            UsageMistake: as :meth:`client`; or OFREP is used without a context.
        """
        if self.file is not None or not self.is_flagd or (config := flagd_service(SILENT)).resolver != "ofrep":
            return self.client()
        if context is None:
            raise UsageMistake("with FLAGD_RESOLVER=ofrep the server reports changes for one context only: give --context")
        try:
            config = replace(config, ofrep_context=context, ofrep_poll_interval=_OFREP_POLL_INTERVAL)
        except ConfigError as mistake:
            raise UsageMistake(str(mistake)) from None
        return _flagd_client(config)


def service(logger: logging.Logger = package_logger) -> tuple[str, Config]:
    """The SDK key and the options from environment variables: other users can see a key on the command line.

    The key is empty if it is not set. ``logger`` gets the warnings of the options. Raises :class:`UsageMistake` for an invalid
    variable.
    """
    try:
        return with_environment(Config(logger=logger), os.environ)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None


def mobile_service(logger: logging.Logger = package_logger) -> tuple[str, MobileConfig]:
    """The mobile key and the options from environment variables, as :func:`service`."""
    try:
        key, options = from_environment(MOBILE_OPTIONS, os.environ, MOBILE_KEYS)
        return key, replace(MobileConfig(logger=logger), **options)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None


def flagd_service(logger: logging.Logger = package_logger, *, fractional: FractionalVersion | None = None) -> FlagdConfig:
    """The options of a client for flagd from environment variables, and the version of ``fractional`` (``None``: the default).

    Raises:
        UsageMistake: a variable is invalid, or the server evaluates the flags, so the version would have no effect.
    """
    try:
        config = FlagdConfig(logger=logger, fractional_version=fractional or LATEST_VERSION)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None
    if fractional is not None and config.resolver in {"rpc", "ofrep"}:
        raise UsageMistake(
            f"{FRACTIONAL_OPTION} needs FLAGD_RESOLVER=in-process or file; with {config.resolver} the server evaluates the flags"
        )
    return config


def _flagd_client(config: FlagdConfig) -> FlagdClient:
    try:
        return FlagdClient(config)
    except ConfigError as missing:  # a package of the extra
        raise UsageMistake(str(missing)) from None


def data_of(
    words: Sequence[str],
    *,
    is_live: bool,
    is_flagd: bool,
    fractional: FractionalVersion | None = None,
    overrides: Sequence[Path] = (),
) -> tuple[FlagData, list[str]]:
    """The flags of a command, and the remaining words. Without ``--live`` and ``--flagd`` the first word is a file.

    Raises:
        click.UsageError: there is neither a file nor one of these options, or there are both; ``fractional`` or ``overrides``
            have no effect; or another word cannot be a key.
        UsageMistake: the file cannot be read, or has a mistake.
    """
    if is_live and is_flagd:
        raise click.UsageError("--live is for LaunchDarkly's service, and cannot be used with --flagd")
    if is_live and fractional is not None:
        raise click.UsageError(f"{FRACTIONAL_OPTION} is for flags of flagd, and cannot be used with --live")
    if overrides and is_flagd:
        raise click.UsageError(OVERRIDES_MISPLACED)
    check_overrides(overrides)
    if is_live or is_flagd:
        if is_flagd:
            flagd_service(fractional=fractional)  # logs the warnings of the options
        check_keys(words)
        return FlagData(None, is_flagd=is_flagd, fractional=fractional, overrides=tuple(overrides)), list(words)
    if not words:
        raise click.UsageError("expected a FILE, or --live for the flags of LaunchDarkly's service, or --flagd")
    check_keys(words[1:])
    file = Path(words[0])
    snapshot = snapshot_of(file, fractional)
    is_flagd = snapshot.dialect.name == FLAGD
    if overrides and is_flagd:
        raise click.UsageError(OVERRIDES_MISPLACED)
    return FlagData(file, is_flagd=is_flagd, fractional=fractional, overrides=tuple(overrides)), list(words[1:])


def snapshot_of(file: Path, fractional: FractionalVersion | None = None) -> Snapshot:
    """The flags of a file in LaunchDarkly's format or in flagd's.

    Raises:
        click.UsageError: ``fractional`` is given, and the file does not have flagd's format.
        UsageMistake: the file cannot be read.
    """
    with file_mistakes(file):
        document = read_flag_document(read_regular(file), name=str(file))
    if fractional is not None and not document.is_flagd:
        raise click.UsageError(f"{FRACTIONAL_OPTION} needs flags in flagd's format; {file} has LaunchDarkly's")
    # Loading flags of flagd would log the mistakes in all of them. The result of an evaluation has a message.
    empty = (
        Snapshot.empty(dialect=flagd_dialect(fractional or LATEST_VERSION), log=SILENT) if document.is_flagd else Snapshot.empty()
    )
    return empty.apply(document.change_set)
