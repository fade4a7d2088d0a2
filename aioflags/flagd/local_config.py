"""LocalConfig: the options of a client whose flags are one document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from aioflags.errors import ConfigError
from aioflags.flagd.config import FlagdConfig
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import require

__all__ = ["LocalConfig", "local_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig(FlagdConfig):
    """Options with ``flags`` in place of a server. ``resolver`` does not matter."""

    flags: ChangeSet = field(default=ChangeSet(kind=ChangeKind.FULL), repr=False)


def local_config(document: Mapping[str, object] | str | bytes, config: FlagdConfig | None) -> LocalConfig:
    """The options of a client for this document. Those of ``config`` count, and otherwise the defaults without variables.

    Raises:
        ConfigError: the document is not a flag set, or an argument has another type.
    """
    # Other clients import this module, too, and read no documents.
    from aioflags.protocol.documents.document import utf8  # noqa: PLC0415 - as above
    from aioflags.protocol.flagd import FlagSetError, read_flag_set  # noqa: PLC0415 - as above

    require("document", document, Mapping, str, bytes, expected="a mapping or JSON text")
    if isinstance(document, str) and not document.lstrip("\ufeff \t\r\n").startswith("{"):
        expected = "expected a mapping or JSON text; for a file use FlagdConfig(resolver='file', offline_flag_source_path=…)"
        raise ConfigError(f"document: {expected}, got {printable(document)!r:.100}")
    try:
        flags = run_at_once(read_flag_set(document if isinstance(document, Mapping) else utf8(document, "document")))
    except FlagSetError as error:
        raise ConfigError(f"document: {error}") from error
    config = FlagdConfig(environment={}) if config is None else require("config", config, FlagdConfig)
    return LocalConfig(**{option.name: getattr(config, option.name) for option in fields(FlagdConfig) if option.init}, flags=flags)
