"""The group of all commands. A command is imported when it is asked for, so each needs only its own extras."""

from __future__ import annotations

import importlib
from typing import Final

import click

from aioflags.cli.usage_errors import UsageMistake
from aioflags.runtime.version import __version__

__all__ = ["commands"]

_COMMANDS: Final = ("codegen", "demo", "doctor", "evaluate", "explain", "lint", "serve", "watch")

_OF_CLI: Final = frozenset({"click", "rich"})
"""What the extra ``cli`` brings. All else that a command may lack belongs to the server, which ``demo`` brings as well."""


class _Commands(click.Group):
    """Finds each command as ``command`` in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- the same
        if cmd_name not in _COMMANDS:
            return None
        try:
            found = importlib.import_module(f"aioflags.cli.{cmd_name}").command
        except ModuleNotFoundError as missing:
            absent = (missing.name or "").partition(".")[0]
            if absent == "aioflags":
                raise
            extra = "cli" if absent in _OF_CLI else "demo"
            return _unavailable(cmd_name, f'{cmd_name} needs {absent}: pip install "aioflags[{extra}]"')
        return found if isinstance(found, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="aioflags %(version)s")
def commands() -> None:
    """Feature flags for asyncio programs, from the command line."""


def _unavailable(name: str, why: str) -> click.Command:
    """A command whose extra is not installed: it can be listed, and says what to install."""

    def refuse() -> None:
        raise UsageMistake(why)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, context_settings=settings, add_help_option=False, short_help=f"({why})")
