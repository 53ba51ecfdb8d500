"""The server under test: an embedded PostgreSQL with default durable settings, in a directory of its own.

Out: a `Cluster` with one database per system, so that no system's tables weigh on another's.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from durasql.postgres import Server, binaries
from durasql.store.install import install

OWNER = "bench_owner"
APP = "bench_app"
WORKER = "bench_worker"

# Only what a bench needs to look inside; durability and memory are PostgreSQL's defaults.
_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
    "pg_stat_statements.save": "off",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Cluster:
    """A running server. Databases: ideal, durasql, dbos, absurd."""

    server: Server

    def dsn(self, database: str, user: str = "postgres") -> str:
        """A DSN over the unix socket."""
        return self.server.dsn(database, user)

    def url(self, database: str) -> str:
        """The superuser's URL, for SQLAlchemy."""
        return f"postgresql://postgres@/{database}?host={self.server.socket_dir}&port={self.server.port}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as superuser."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def pgbench(self, database: str, user: str, script: str, clients: int, seconds: int) -> float:
        """Transactions per second of a pgbench script, with prepared statements."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            options = [
                "--no-vacuum",
                "--protocol=prepared",
                "--jobs=2",
                f"--client={clients}",
                f"--time={seconds}",
            ]
            command = [str(self.server.bin_dir / "pgbench"), *options, f"--file={file.name}"]
            command.append(self.dsn(database, user))
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
        return float(line.split()[2])


@contextmanager
def running(directory: Path | None = None) -> Iterator[Cluster]:
    """A fresh server for the time of a bench, with schema df installed by an ordinary role."""
    place = directory or Path(tempfile.mkdtemp(prefix="durasql-bench-"))
    server = Server(place, binaries(), _SETTINGS)
    try:
        server.start()
        cluster = Cluster(server)
        _prepare(cluster)
        yield cluster
    finally:
        server.stop("fast")
        shutil.rmtree(place, ignore_errors=True)


def _prepare(cluster: Cluster) -> None:
    for role in (OWNER, APP, WORKER):
        cluster.execute(f"CREATE ROLE {role} LOGIN")
    for name in ("ideal", "durasql", "dbos", "absurd"):
        cluster.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    install(cluster.dsn("durasql", OWNER))
    with psycopg.connect(cluster.dsn("durasql", OWNER), autocommit=True) as connection:
        connection.execute("SELECT df.grant_usage(%s)", (APP,))
        connection.execute("SELECT df.grant_worker(%s)", (WORKER,))
    cluster.execute("CREATE EXTENSION pg_stat_statements", "durasql")
