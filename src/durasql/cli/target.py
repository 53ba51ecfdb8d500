"""Which database a command works on. In: options and environment. Out: a DSN that can be connected to.

    --dsn, else DURASQL_DSN, else the PG* variables of libpq, else the embedded server

The embedded server is started for the command if it does not run, and stopped when its last user leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

PG_VARIABLES: Final = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE")
"""Any of these says that the user has a database in mind."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """The database that the options and the environment name; `dsn` is None for the embedded server."""

    dsn: str | None
    data_dir: Path | None
    origin: str

    @contextmanager
    def reached(self) -> Iterator[str]:
        """A DSN to connect to, valid inside the block."""
        if self.dsn is not None:
            yield self.dsn
            return
        from durasql.embedded import Embedded

        with Embedded(self.data_dir).running() as dsn:
            yield dsn


def choose(dsn: str | None, data_dir: Path | None) -> Target:
    """The target of one command; an explicit option wins over the environment."""
    if dsn is not None and data_dir is not None:
        raise click.UsageError("--dsn names a server and --data-dir the embedded one; give one of them")
    if dsn is not None:
        return Target(dsn, None, "--dsn")
    if data_dir is not None:
        return Target(None, data_dir, "--data-dir")
    if os.environ.get("DURASQL_DSN"):
        return Target(os.environ["DURASQL_DSN"], None, "DURASQL_DSN")
    named = [name for name in PG_VARIABLES if os.environ.get(name)]
    if named:
        return Target("", None, ", ".join(named))
    return Target(None, None, "the embedded server")


def database_options(command: F) -> F:
    """Give a command --dsn and --data-dir and pass it the `target` they name."""

    @click.option("--dsn", metavar="DSN", help="The database; default: DURASQL_DSN, PG* variables, embedded.")
    @click.option(
        "--data-dir",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Use the embedded server whose data is in DIR.",
    )
    @wraps(command)
    def with_target(*args: Any, dsn: str | None, data_dir: Path | None, **options: Any) -> Any:
        return command(*args, target=choose(dsn, data_dir), **options)

    return with_target  # type: ignore[return-value]
