"""``aioflags codegen``: generates a Python module that declares the flags of files, with types."""

from __future__ import annotations

from pathlib import Path

import click

from aioflags.cli.usage_errors import file_mistakes
from aioflags.protocol.flag_documents import read_flag_documents
from aioflags.runtime.regular_files import read_regular
from aioflags.tools.codegen import declarations, declare_the_same


@click.command("codegen", short_help="Generate typed flag declarations from files.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The module to write. [standard output]")
@click.option("--check", is_flag=True, help="Write nothing; check that the module of --output declares these flags.")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], output: Path | None, *, check: bool) -> None:
    """Print a Python module that declares every flag in the FILEs: its key, the type of its variations, its default.

    The FILEs have LaunchDarkly's format or flagd's. The default is the variation that the flag serves while it is off.
    Without one it is False for a boolean flag, otherwise the first variation. A flag of flagd has its default variant as
    default, and a boolean one False. With --check the exit status is 1 if the module differs; its formatting does not
    matter.
    """
    if check and output is None:
        raise click.UsageError("--check needs the module: --output")
    texts: list[tuple[str, bytes]] = []
    for file in files:
        with file_mistakes(file):
            texts.append((str(file), read_regular(file)))
    with file_mistakes(files[0]):
        source = declarations(read_flag_documents(texts))
    if output is None:
        click.echo(source.encode(), nl=False)  # Python reads a module as UTF-8
        return
    with file_mistakes(output):
        if not check:
            output.write_text(source, encoding="utf-8")
            return
        if not output.exists() or not declare_the_same(read_regular(output), source.encode()):
            click.echo(f"{output}: the flags have changed; run aioflags codegen {' '.join(map(str, files))} -o {output}", err=True)
            ctx.exit(1)
