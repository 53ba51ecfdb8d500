"""The click group and the one place where errors end. In: sys.argv. Out: an exit code, never a traceback.

Commands are imported when they are asked for, so that `durasql --version` and `compile` load no driver.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from durasql import __version__
from durasql.errors import DurasqlError

INTERRUPTED: Final = 130
INTERNAL: Final = 70

_COMMANDS: Final = {
    "run": "run",
    "start": "run",
    "compile": "front",
    "check": "check",
    "fmt": "front",
    "explain": "front",
    "graph": "graph",
    "lsp": "lsp",
    "list": "instances",
    "status": "instances",
    "result": "instances",
    "nodes": "instances",
    "attempts": "instances",
    "trace": "trace",
    "await": "instances",
    "signal": "instances",
    "cancel": "instances",
    "pause": "verbs",
    "resume": "verbs",
    "retry": "verbs",
    "fork": "verbs",
    "worker": "serve",
    "dev": "serve",
    "top": "top",
    "doctor": "doctor",
    "bench": "bench",
    "psql": "database",
    "db": "database",
    "prune": "database",
    "http": "http",
    "secret": "secret",
    "completion": "completion",
}
"""Command -> module of this package; the order is the order of `durasql --help`."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"durasql.cli.{_COMMANDS[cmd_name]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # Here, because click itself would exit with 1.
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return _quiet_pipe()


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, message="durasql %(version)s")
def cli() -> None:
    """Durable SQL workflows on any PostgreSQL, without an extension.

    \b
    durasql run hello.dsql                       run a workflow to its end
    durasql run -e "'SELECT 1' |=> 'a' ~> 'SELECT $a + 1'"
    durasql start nightly.dsql --label nightly   start it and return at once
    durasql worker                               execute what was started, until stopped
    durasql db install --dsn postgresql://…      make a database ready

    The database is --dsn, else DURASQL_DSN, else the PG* variables, else an embedded PostgreSQL.

    Exit codes: 0 completed, 1 failed, 2 usage or compile error, 3 cancelled, 4 timed out,
    5 database unreachable.
    """


def run_command_line() -> None:
    """Run `durasql`; every error becomes one message and an exit code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _quiet_pipe()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code. Says what went wrong on stderr and raises nothing."""
    try:
        returned: Any = cli.main(arguments, prog_name="durasql", standalone_mode=False)
        return returned if isinstance(returned, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ndurasql: interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    from durasql.cli import render

    known = _known(error)
    if os.environ.get("DURASQL_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    if known is None:
        render.problem(
            f"internal error: {type(error).__name__}: {error}",
            hint="This is a mistake in durasql. DURASQL_DEBUG=1 shows where it happened.",
        )
        return INTERNAL
    render.error(known)
    return known.exit_code


def _known(error: Exception) -> DurasqlError | None:
    """The error as one of durasql's; the driver is looked at only if some command has loaded it."""
    if isinstance(error, DurasqlError):
        return error
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.Error):
        from durasql.store.failures import translate

        return translate(error)
    return None


def _quiet_pipe() -> int:
    """The reader of our output is gone (`durasql list | head`): that is no error worth a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
