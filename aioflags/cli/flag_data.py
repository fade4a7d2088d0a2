"""The flags of a command: those of a file, or, with ``--live`` or ``--flagd``, those of a server.

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

from aioflags.cli.usage_errors import UsageMistake, file_mistakes
from aioflags.client.client import Client
from aioflags.client_core.base_client import BaseClient
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.config.environment import from_environment
from aioflags.errors import ConfigError
from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.protocol.flag_documents import read_flag_document
from aioflags.runtime.logs import SILENT
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.regular_files import read_regular
from aioflags.sources import FileSource

__all__ = ["FLAGD", "FlagData", "data_of", "service", "snapshot_of"]

FLAGD: Final = "flagd"
"""The name of the dialect of files in flagd's format."""
_CHECK_INTERVAL: Final = 0.25
"""Seconds. A person waits for the effect of an edit; flagd's clients check every 5 s."""


@dataclass(frozen=True, slots=True)
class FlagData:
    """The file with the flags; ``None`` for a server. ``is_flagd``: the file is in flagd's format, or the server is flagd."""

    file: Path | None
    is_flagd: bool = False

    def client(self, log: logging.Logger = package_logger) -> BaseClient:
        """A client with these flags. Raises :class:`UsageMistake` if the environment has no SDK key.

        ``log`` gets the messages of a client for flagd, for example the mistakes in all flags.
        """
        if self.file is None and self.is_flagd:
            return _flagd_client(flagd_service(log))
        if self.file is not None and self.is_flagd:
            path = str(self.file)
            interval = _CHECK_INTERVAL
            return FlagdClient(
                FlagdConfig(
                    resolver="file", offline_flag_source_path=path, offline_poll_interval=interval, logger=log, environment={}
                )
            )
        if self.file is not None:
            return Client("", Config(data_system=DataSystem.custom(synchronizers=[FileSource(self.file)])))
        key, config = service()
        if not key:
            raise UsageMistake("no SDK key: set the environment variable LAUNCHDARKLY_SDK_KEY; for flagd use --flagd")
        return Client(key, config)


def service(logger: logging.Logger = package_logger) -> tuple[str, Config]:
    """The SDK key and the options from environment variables: other users can see a key on the command line.

    The key is empty if it is not set. ``logger`` gets the warnings of the options. Raises :class:`UsageMistake` for an invalid
    variable.
    """
    try:
        key, options = from_environment(os.environ)
        return key, replace(Config(), logger=logger, **options)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None


def flagd_service(logger: logging.Logger = package_logger) -> FlagdConfig:
    """The options of a client for flagd from environment variables. Raises :class:`UsageMistake` for an invalid variable."""
    try:
        return FlagdConfig(logger=logger)
    except ConfigError as mistake:
        raise UsageMistake(str(mistake)) from None


def _flagd_client(config: FlagdConfig) -> FlagdClient:
    try:
        return FlagdClient(config)
    except ConfigError as missing:  # a package of the extra
        raise UsageMistake(str(missing)) from None


def data_of(words: Sequence[str], *, is_live: bool, is_flagd: bool) -> tuple[FlagData, list[str]]:
    """The flags of a command, and the remaining words. Without ``--live`` and ``--flagd`` the first word is a file.

    Raises:
        click.UsageError: there is neither a file nor one of these options, or there are both options.
        UsageMistake: the file cannot be read, or has a mistake.
    """
    if is_live and is_flagd:
        raise click.UsageError("--live is for LaunchDarkly's service, and cannot be used with --flagd")
    if is_live or is_flagd:
        if is_flagd:
            flagd_service()  # logs the warnings of the options
        return FlagData(None, is_flagd=is_flagd), list(words)
    if not words:
        raise click.UsageError("expected a FILE, or --live for the flags of LaunchDarkly's service, or --flagd")
    file = Path(words[0])
    snapshot = snapshot_of(file)
    return FlagData(file, is_flagd=snapshot.dialect.name == FLAGD), list(words[1:])


def snapshot_of(file: Path) -> Snapshot:
    """The flags of a file in LaunchDarkly's format or in flagd's. Raises :class:`UsageMistake` if it cannot be read."""
    with file_mistakes(file):
        document = read_flag_document(read_regular(file), name=str(file))
    # Loading flags of flagd would log the mistakes in all of them. The result of an evaluation has a message.
    empty = Snapshot.empty(dialect=flagd_dialect(), log=SILENT) if document.is_flagd else Snapshot.empty()
    return empty.apply(document.change_set)
