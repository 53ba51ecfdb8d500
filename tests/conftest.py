"""Fixtures of all tests that need a server: one PostgreSQL per test process, one fresh database per test.

    cluster     session: a PostgreSQL in a temporary directory, on a socket and a loopback port, trust login.
                DURASQL_TEST_PGBIN=/usr/lib/postgresql/15/bin runs the tests on another version.
    database    function: a database with schema df, owned by an ordinary role; roles are made on demand.

A database is a copy of a template that is installed once, so it costs tens of milliseconds.
With pytest-xdist every process has a cluster of its own. Nothing here sleeps.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durasql.postgres import Server, binaries
from durasql.store.install import install

OWNER = "durasql_owner"
TEMPLATE = "durasql_template"

# The tests' server may lose its data in a crash of the machine; a kill of its processes it survives.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "600",
    "log_min_messages": "warning",
    "timezone": "UTC",
}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """A running server and the ways into it."""

    server: Server

    @property
    def bin_dir(self) -> Path:
        """Folder of psql, pgbench, pg_ctl, … of the version under test."""
        return self.server.bin_dir

    @property
    def psql(self) -> Path:
        """The version's own psql, or the embedded server's where a version comes without one."""
        own = self.bin_dir / "psql"
        return own if own.exists() else binaries() / "psql"

    @property
    def port(self) -> int:
        return self.server.port

    def dsn(self, database: str, user: str) -> str:
        """Over the socket."""
        return self.server.dsn(database, user)

    def superuser_dsn(self, database: str = "postgres") -> str:
        return self.dsn(database, "postgres")

    def tcp_dsn(self, database: str, user: str) -> str:
        """Over 127.0.0.1, for tests that put something between client and server."""
        return make_conninfo(host="127.0.0.1", port=self.port, dbname=database, user=user)

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser, in a session of its own."""
        with psycopg.connect(self.superuser_dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@dataclass
class Database:
    """One test's database: schema df is installed and belongs to `owner`, who is no superuser."""

    cluster: Cluster
    name: str
    owner: str = OWNER
    _roles: list[str] = field(default_factory=list)

    @property
    def owner_dsn(self) -> str:
        return self.dsn(self.owner)

    @property
    def superuser_dsn(self) -> str:
        return self.dsn("postgres")

    def dsn(self, role: str | None = None) -> str:
        """A DSN of this database for a role, the owner by default."""
        return self.cluster.dsn(self.name, role or self.owner)

    def connect(self, role: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        """An autocommit connection as `role` (default: the owner); use it as a context manager."""
        return psycopg.connect(self.dsn(role), **{"autocommit": True, **options})

    def role(self, prefix: str = "u", *attributes: str, grant: bool = True, **options: Any) -> str:
        """A new role with LOGIN and df.grant_usage; `attributes` are CREATE ROLE words such as 'NOLOGIN'.

        `grant=False` leaves the grant out; other keywords are passed to df.grant_usage (include_http=True).
        """
        name = f"{prefix}_{os.getpid()}_{next(_numbers)}"
        words = " ".join(attributes) if attributes else "LOGIN"
        self._superuser(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(words)))
        self._roles.append(name)
        if grant:
            self.grant_usage(name, **options)
        return name

    def grant_usage(self, role: str, **options: Any) -> None:
        """df.grant_usage(role, …) as the owner; works for roles that are not of this fixture too."""
        with self.connect() as connection:
            named = "".join(f", {name} => %({name})s" for name in options)
            connection.execute(f"SELECT df.grant_usage(%(role)s{named})", {"role": role, **options})

    def psql(self, text: str, role: str | None = None) -> str:
        """What psql prints for a script (unaligned, rows only), as `role`; raises on the first error."""
        command = [str(self.cluster.psql), "-XAtq", "-v", "ON_ERROR_STOP=1", self.dsn(role)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"psql: {done.stderr}")
        return done.stdout

    def worker(self, role: str | None = None, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A worker in a process of its own; the fixture `worker_process` ends it for you."""
        return subprocess.Popen(
            [sys.executable, "-m", "durasql", "worker", "--dsn", self.dsn(role), *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _superuser(self, statement: sql.Composed) -> None:
        self.cluster.execute(statement, self.name)

    def drop(self) -> None:
        """Remove the database, its sessions and the roles made for it."""
        self.cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))
        for role in self._roles:
            # Only roles with rights elsewhere (another database, pg_authid) would survive; leave those be.
            self.cluster.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """The server without the template: for tests of the installation itself."""
    chosen = os.environ.get("DURASQL_TEST_PGBIN")
    # Not below pytest's own temporary directory: the server may run as another user, who cannot enter it.
    directory = Path(tempfile.mkdtemp(prefix="durasql-test-"))
    server = Server(directory, Path(chosen) if chosen else binaries(), FAST, tcp_port=_free_port())
    try:
        server.start()
        yield Cluster(server)
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster) -> Cluster:
    """The session's server, with the template of `database` in it."""
    bare_cluster.execute(f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB")
    bare_cluster.execute(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
    install(bare_cluster.dsn(TEMPLATE, OWNER))
    return bare_cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A fresh database with schema df, owned by an ordinary role."""
    name = f"t_{os.getpid()}_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER}")
    made = Database(cluster, name)
    yield made
    made.drop()


@pytest.fixture
def empty_database(bare_cluster: Cluster) -> Iterator[str]:
    """The DSN of a database without schema df, for its owner, an ordinary role."""
    name = f"e_{os.getpid()}_{next(_numbers)}"
    bare_cluster.execute(f"CREATE ROLE {name} LOGIN")
    bare_cluster.execute(f"CREATE DATABASE {name} OWNER {name}")
    yield bare_cluster.dsn(name, name)
    bare_cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
    bare_cluster.execute(f"DROP ROLE {name}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def worker_process(database: Database) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`worker_process(role, *arguments)` starts `durasql worker` on the test's database and ends it."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str | None = None, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        started.append(database.worker(role, *arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
