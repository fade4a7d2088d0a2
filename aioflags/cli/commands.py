"""The group of all commands. A command is imported when it is used, so each needs only its own extras."""

from __future__ import annotations

import importlib
from typing import Final

import click

from aioflags.cli.usage_errors import UsageMistake
from aioflags.runtime.version import __version__

_COMMANDS: Final = ("codegen", "demo", "doctor", "evaluate", "explain", "lint", "override", "serve", "watch")

_CLI_PACKAGES: Final = frozenset({"click", "rich"})
"""The packages of the extra ``cli``. All other packages that a command may need are in the extra ``demo``."""


class _Commands(click.Group):
    """Loads each command from ``command`` of the module with its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        if cmd_name not in _COMMANDS:
            return None
        try:
            command = importlib.import_module(f"aioflags.cli.{cmd_name}").command
        except ModuleNotFoundError as missing:
            package = (missing.name or "").partition(".")[0]
            if package == "aioflags":
                raise
            extra = "cli" if package in _CLI_PACKAGES else "demo"
            return _unavailable(cmd_name, f'{cmd_name} needs {package}: pip install "aioflags[{extra}]"')
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="aioflags %(version)s")
def commands() -> None:
    """Feature flags for asyncio programs, from the command line."""


def _unavailable(name: str, reason: str) -> click.Command:
    """A command whose extra is not installed. It is listed, and fails with the extra to install."""

    def refuse() -> None:
        raise UsageMistake(reason)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, context_settings=settings, add_help_option=False, short_help=f"({reason})")
