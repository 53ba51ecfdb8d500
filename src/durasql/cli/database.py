"""db, psql, prune: the database itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options
from durasql.errors import StoreError

_PRUNE_BATCH: Final = 1000


@click.group("db", short_help="Install durasql in a database, look at it, remove it.")
def db_command() -> None:
    """Install durasql in a database, look at it, remove it."""


@db_command.command("install")
@click.option("--print", "print_", is_flag=True, help="Print the SQL for psql instead of running it.")
@database_options
def install_command(print_: bool, target: Target) -> None:
    """Install schema df, or upgrade it in place. Needs the owner of the database, no superuser.

    \b
    durasql db install --dsn postgresql://owner@db/app
    durasql db install --print | psql -d app
    """
    from durasql.store.install import install, script

    if print_:
        return click.echo(script(), nl=False)
    with target.reached() as dsn:
        applied = install(dsn)
    for migration in applied:
        render.line(f"applied {migration.filename}")
    render.line("schema df is up to date")
    return None


@db_command.command("status")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def status_command(json_: bool, target: Target) -> int:
    """Show which database is used and the state of schema df in it; exits with 1 if it needs attention.

    \b
    durasql db status
    """
    from durasql.store.install import status
    from durasql.store.liveness import liveness

    with target.reached() as dsn:
        found = status(dsn)
        where = _where(dsn)
        living = liveness(dsn) if found.healthy else None
    health = "ok" if found.healthy else _complaint(found)
    if json_:
        shown = {"applied": [asdict(row) for row in found.applied], "health": health, "ok": found.healthy}
        shown["liveness"] = asdict(living) if living else None
        render.as_json({"from": target.origin, "database": where, "server": found.server_version, **shown})
        return 0 if found.healthy else 1
    last = found.applied[-1] if found.applied else None
    render.facts(
        {
            "database": where,
            "from": target.origin,
            "server": f"PostgreSQL {found.server_version}",
            "schema df": f"{last.version:04} {last.name}" if last else None,
            "installed": last.applied_at if last else None,
            "health": health,
            "workers": living.shown_workers if living else None,
            "lag": f"{living.lag_seconds:.1f} s" if living else None,
        }
    )
    return 0 if found.healthy else 1


def _where(dsn: str) -> str:
    """The connection without its secrets."""
    import psycopg

    with psycopg.connect(dsn) as connection:
        return connection.info.dsn


def _complaint(found: Any) -> str:
    if found.foreign:
        return "schema df was not made by durasql"
    if not found.installed:
        return "not installed: durasql db install"
    if found.newer:
        return "newer than this durasql: upgrade durasql"
    if found.pending:
        return f"{len(found.pending)} migrations to apply: durasql db install"
    names = ", ".join(migration.filename for migration in found.changed)
    return f"applied in another wording than this durasql has: {names}"


@db_command.command("uninstall")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_options
def uninstall_command(yes: bool, target: Target) -> None:
    """Drop schema df with every workflow, journal and setting in it.

    \b
    durasql db uninstall --dsn postgresql://owner@db/app
    """
    from durasql.store.install import uninstall

    if not yes:
        click.confirm("Drop schema df and everything in it?", abort=True)
    with target.reached() as dsn:
        dropped = uninstall(dsn)
    render.line("schema df dropped" if dropped else "there was no schema df")


@click.command(
    "psql",
    short_help="Open psql on the database.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@database_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL OPTIONS]...")
def psql_command(target: Target, arguments: tuple[str, ...]) -> int:
    """Open psql on the database; what follows goes to psql.

    \b
    durasql psql
    durasql psql -c "SELECT * FROM df.list_instances()"
    """
    program = _psql()
    with target.reached() as dsn:
        return subprocess.run([program, *([dsn] if dsn else []), *arguments], check=False).returncode


def _psql() -> str:
    """psql of the PATH, else that of the embedded server."""
    found = shutil.which("psql")
    if found:
        return found
    from durasql.postgres import EmbeddedError, binaries

    try:
        program = binaries() / "psql"
    except EmbeddedError:
        program = Path("psql")
    if not os.access(program, os.X_OK):
        raise StoreError("psql is not installed", hint="It comes with the PostgreSQL client packages.")
    return str(program)


@click.command("prune", short_help="Delete finished instances that retention no longer keeps.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def prune_command(json_: bool, target: Target) -> None:
    """Delete finished instances beyond the settings retention_days and retention_count, now.

    Workers do the same by themselves every reconcile_interval seconds.

    \b
    durasql prune
    """
    from durasql.client import connect
    from durasql.store import instances

    with target.reached() as dsn, connect(dsn) as client:
        removed = programs = 0
        while True:  # in batches, so that no transaction is long
            batch, unused = client.perform(instances.prune(_PRUNE_BATCH))
            removed, programs = removed + batch, programs + unused
            if batch < _PRUNE_BATCH:
                break
    if json_:
        return render.as_json({"instances": removed, "programs": programs})
    render.line(f"{removed} instances and {programs} programs deleted")
    return None
