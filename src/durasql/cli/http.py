"""http: which addresses HTTP steps may reach. Every command is one df function on df.http_policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options

_COLUMNS: Final = ("rule", "effect", "host", "scheme", "port", "role", "private", "note")

Command = Callable[..., Any]


@click.group("http", short_help="Allow and deny addresses for HTTP steps.")
def http_command() -> None:
    """Allow and deny addresses for HTTP steps.

    Rules are read in order and the first that fits decides. Without a fitting rule, public addresses may be
    reached by http and https, and private and reserved ones may not.

    \b
    durasql http allow api.internal.example --private   a host inside the network
    durasql http deny '*.example.org'                   no host of this domain
    durasql http list                                   the rules, in order
    """


def _rule_options(command: Command) -> Command:
    """What both kinds of rule have; HOST is a name, a pattern with *, an address or a range."""
    for option in reversed(
        (
            click.argument("host"),
            click.option("--scheme", type=click.Choice(["http", "https"]), help="Only this scheme."),
            click.option("--port", type=click.IntRange(1, 65535), help="Only this port."),
            click.option("--role", help="Only for workflows of this role and its members."),
            click.option(
                "--before",
                type=click.IntRange(1),
                metavar="RULE",
                help="Put it in front of a rule, not last.",
            ),
            click.option("--note", help="Why; shown by list."),
        )
    ):
        command = option(command)
    return database_options(command)


@http_command.command("allow")
@click.option("--private", is_flag=True, help="Even where HOST leads to private or loopback addresses.")
@_rule_options
def allow_command(target: Target, host: str, private: bool, **options: Any) -> None:
    """Let HTTP steps reach HOST: a name, a pattern such as *.example.com, an address or a range.

    \b
    durasql http allow embeddings.internal --private
    durasql http allow 10.1.0.0/16 --port 8080 --role pipelines
    """
    # Without the flag the database decides: "localhost" is private by nature.
    _add(target, "allow", host, {**options, "private": private or None})


@http_command.command("deny")
@_rule_options
def deny_command(target: Target, host: str, **options: Any) -> None:
    """Keep HTTP steps from HOST; after allow rules, `deny '*'` makes them the only ones.

    \b
    durasql http deny '*'
    durasql http deny '*.example.com' --before 1
    """
    _add(target, "deny", host, options)


def _add(target: Target, effect: str, host: str, options: dict[str, Any]) -> None:
    given = {name: value for name, value in options.items() if value is not None}
    named = "".join(f", {name} => %({name})s" for name in given)
    rows = _query(target, f"SELECT df.http_{effect}(%(host)s{named})", {"host": _ascii(host), **given})
    render.line(f"rule {rows[0][0]}: {effect} {host}")


@http_command.command("remove")
@click.argument("rule", type=int)
@database_options
def remove_command(target: Target, rule: int) -> int:
    """Remove a rule by its number; exits with 2 if there is none.

    \b
    durasql http remove 3
    """
    if _query(target, "SELECT df.http_remove(%(rule)s)", {"rule": rule})[0][0]:
        render.line(f"rule {rule} removed")
        return 0
    render.problem(f"there is no rule {rule}", hint="durasql http list shows the rules.")
    return 2


@http_command.command("list")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def list_command(target: Target, json_: bool) -> None:
    """Show the rules in the order in which they are read.

    \b
    durasql http list
    """
    rows = _query(target, "SELECT * FROM df.http_policy_list()", {})
    if json_:
        render.as_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        render.table(_COLUMNS, rows)


def _ascii(host: str) -> str:
    """International names as they are compared; anything else is left for the database to judge."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise click.BadParameter(f"not a host name: {host}", param_hint="HOST") from error


def _query(target: Target, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    import psycopg

    with target.reached() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode(), values).fetchall()
