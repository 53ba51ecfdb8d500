"""secret: values that only workers can read. They are encrypted here, before they go anywhere.

DURASQL_SECRET_KEY holds the key, in the environment of workers and of whoever sets secrets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options

if TYPE_CHECKING:
    from psycopg import Connection

_COLUMNS: Final = ("role", "name", "key", "created", "updated")

_role_option = click.option(
    "--role", help="For this role instead of the one that logs in; for the owner of df."
)


@click.group("secret", short_help="Keep values for {secret:name} in HTTP steps.")
def secret_command() -> None:
    """Keep values for {secret:name} in HTTP steps: in URLs, header values and bodies.

    Values are encrypted with DURASQL_SECRET_KEY before they leave this command; the database never sees them.

    \b
    export DURASQL_SECRET_KEY="$(durasql secret key)"    once, for workers and operators
    durasql secret set openai < key.txt                  use it as {secret:openai}
    durasql secret list                                  names, never values
    """


@secret_command.command("key")
def key_command() -> None:
    """Print a new key for DURASQL_SECRET_KEY.

    \b
    export DURASQL_SECRET_KEY="$(durasql secret key)"
    """
    from durasql_runtime.secrets import new_key

    render.line(new_key())


@secret_command.command("set")
@click.argument("name")
@_role_option
@database_options
def set_command(target: Target, name: str, role: str | None) -> None:
    """Store a secret. The value is read from standard input, or asked for without showing it.

    \b
    pass show openai | durasql secret set openai
    """
    from durasql_runtime.secrets import keys_from_environment, seal

    keys = keys_from_environment()
    value = _value(name)
    with _connected(target) as connection:
        owner = role or _current_role(connection)
        sealed = seal(value, owner, name, keys)
        connection.execute("SELECT df.put_secret(%s, %s, %s)", (name, sealed, role))
    render.line(f"secret {name} of {owner} is set")


@secret_command.command("list")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def list_command(target: Target, json_: bool) -> None:
    """Show the names of secrets, never their values.

    \b
    durasql secret list
    """
    with _connected(target) as connection:
        rows = connection.execute("SELECT * FROM df.list_secrets()").fetchall()
    if json_:
        render.as_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        render.table(_COLUMNS, rows)


@secret_command.command("remove")
@click.argument("name")
@_role_option
@database_options
def remove_command(target: Target, name: str, role: str | None) -> int:
    """Remove a secret; exits with 2 if there is none of this name.

    \b
    durasql secret remove openai
    """
    with _connected(target) as connection:
        row = connection.execute("SELECT df.remove_secret(%s, %s)", (name, role)).fetchone()
    if row and row[0]:
        render.line(f"secret {name} removed")
        return 0
    render.problem(f"there is no secret {name}", hint="durasql secret list shows the names.")
    return 2


def _value(name: str) -> str:
    """The value; one line end after it is the terminal's or echo's and no part of it."""
    if sys.stdin.isatty():
        value: str = click.prompt(f"Value of {name}", hide_input=True, err=True)
    else:
        value = _text(sys.stdin.buffer.read())
        value = value.removesuffix("\n").removesuffix("\r")
    _check(value)
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError("a secret is text in UTF-8; encode other data in base64") from error


def _check(value: str) -> None:
    from durasql_runtime.secrets import SHORTEST

    if len(value.strip()) < SHORTEST:
        raise click.UsageError(
            f"a secret needs at least {SHORTEST} characters: a shorter one could not be kept out of results"
        )


def _current_role(connection: Connection[Any]) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _connected(target: Target) -> Iterator[Connection[Any]]:
    import psycopg

    with target.reached() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
