"""Writes JSON values as YAML that :mod:`aioflags.protocol.documents.yaml_text` reads as the same values.

PyYAML writes YAML 1.1, in which other texts without quotes are numbers than in YAML 1.2. It needs the extra ``yaml``.
"""

from __future__ import annotations

import importlib
from typing import Any

from aioflags.errors import ConfigError
from aioflags.model.values import JsonValue
from aioflags.protocol.documents.yaml_text import is_plain_text

__all__ = ["yaml_text"]


def yaml_text(value: JsonValue) -> str:
    """The value as a YAML document, in lines. Raises ``ConfigError`` if the extra is not installed."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ConfigError('writing YAML needs PyYAML: pip install "aioflags[yaml]"') from None

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- PyYAML's signature
            return True

    def represent_text(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style=None if is_plain_text(text) and text.isprintable() else '"'
        )

    Dumper.add_representer(str, represent_text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))
