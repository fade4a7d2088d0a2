"""The description on the package index: the README, whose links into the repository become paths, since they lead nowhere there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def described(readme: str) -> str:
    """``[Options](docs/options.md)`` becomes ``Options (docs/options.md)``; links to other sites and to headings stay."""
    return LINK.sub(r"\1 (`\2`)", readme)


class CustomMetadataHook(MetadataHookInterface):
    """Sets ``readme`` when the package is built."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text)}
