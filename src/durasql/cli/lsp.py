"""lsp: the language server for editors. In: an editor on stdin. Out: its answers on stdout."""

from __future__ import annotations

import os
import sys

import click

from durasql.extras import needing


@click.command("lsp", short_help="The language server for editors.")
def lsp_command() -> None:
    """Serve an editor over stdin and stdout: findings, hover, definitions, completion, formatting.

    \b
    pip install 'durasql[lsp]'
    durasql lsp                     the command to give to your editor
    """
    with needing("lsp", "the language server"):
        from durasql.lsp.server import server
    # The protocol gets a stream of its own, so that nothing printed by accident can disturb it.
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server.start_io(stdout=protocol)
