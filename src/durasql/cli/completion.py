"""completion: what a shell has to know to complete durasql's commands. Out: a script, click's own."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from durasql.errors import DurasqlError

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a script that completes commands in your shell.")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print a script that completes commands and options in bash, zsh or fish.

    \b
    durasql completion bash > ~/.local/share/bash-completion/completions/durasql
    durasql completion zsh > ~/.zfunc/_durasql          with ~/.zfunc in fpath
    durasql completion fish > ~/.config/fish/completions/durasql.fish
    """
    from durasql.cli.entry import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise DurasqlError(f"this click knows no completion for {shell}", hint="pip install --upgrade click")
    # Not `source`, which would ask the bash of this machine for its version first.
    complete = kind(cli, {}, "durasql", "_DURASQL_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
