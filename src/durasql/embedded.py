"""The user's own database: a server on this machine that needs no set-up. In: a directory. Out: a DSN.

The server has a login role and a database `durasql`, an ordinary role without special rights, with schema df
installed; the superuser `postgres` is there for what only it may do. It listens on a socket in its own
directory that only its user can enter, on no TCP port.

Commands share it: each holds a shared lock while it uses the server, the first starts it and the last stops
it. The kernel releases the locks of a killed process, so the next command puts things right.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs
import psycopg
from psycopg import sql

from durasql.postgres import EmbeddedError, Server, binaries, major_version
from durasql.store.install import install, status

ROLE: Final = "durasql"
"""Name of the login role and of the database."""

EXTENSIONS: Final = ("vector", "pg_trgm")
"""Created at set-up if the server has them, since only a superuser may create some of them."""

_START_LOCK = "start.lock"
_USE_LOCK = "use.lock"


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """Where the server is and whether it runs; `pid` is None when it does not."""

    directory: Path
    pid: int | None
    dsn: str
    superuser_dsn: str

    @property
    def running(self) -> bool:
        return self.pid is not None


def default_directory() -> Path:
    """The user's data directory; a name per major version, so that an upgrade starts beside the old data."""
    chosen = os.environ.get("DURASQL_DATA_DIR")
    if chosen:
        return Path(chosen)
    # Root's home is closed to the OS user that the server runs as.
    base = Path("/var/lib/durasql") if os.geteuid() == 0 else platformdirs.user_data_path("durasql", False)
    return base / f"data-{major_version(binaries())}"


class Embedded:
    """The embedded server in `directory` (default: the user's data directory)."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (directory or default_directory()).expanduser().absolute()
        self._server = Server(self.directory, binaries(), {})

    @property
    def dsn(self) -> str:
        """The ordinary role's DSN; valid while the server runs."""
        return self._server.dsn(ROLE, ROLE)

    @property
    def superuser_dsn(self) -> str:
        return self._server.dsn(ROLE, "postgres")

    def status(self) -> EmbeddedStatus:
        return EmbeddedStatus(self.directory, self._server.pid(), self.dsn, self.superuser_dsn)

    @contextmanager
    def running(self) -> Iterator[str]:
        """The DSN of the server, which runs inside the block: started if need be, stopped by its last."""
        descriptor = self._enter()
        try:
            yield self.dsn
        finally:
            self._leave(descriptor)

    def stop(self) -> bool:
        """Stop the server whoever uses it; False if it did not run."""
        if self._server.pid() is None:
            return False
        with self._lock(_START_LOCK):
            self._server.stop()
        return True

    def _enter(self) -> int:
        self._claim_directory()
        with self._lock(_START_LOCK):
            descriptor = self._open(_USE_LOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                self._server.start()
                self._set_up()
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def _leave(self, descriptor: int) -> None:
        try:
            with self._lock(_START_LOCK):
                if _is_last_user(descriptor):
                    self._server.stop()
        finally:
            os.close(descriptor)

    def _claim_directory(self) -> None:
        """Refuse a directory with other contents: it is about to change its owner and mode."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            strange = any(self.directory.iterdir()) and not (self.directory / _START_LOCK).exists()
        except OSError as error:
            raise EmbeddedError(
                f"cannot use {self.directory} for the embedded server: {error.strerror}",
                hint="Choose another place with --data-dir.",
            ) from error
        if strange:
            raise EmbeddedError(
                f"{self.directory} is not empty and was not made by durasql",
                hint="Choose an empty or new directory with --data-dir.",
            )

    def _set_up(self) -> None:
        """Role, database, extensions and schema; each only if it is missing."""
        with psycopg.connect(self._server.dsn("postgres", "postgres"), autocommit=True) as connection:
            name = sql.Identifier(ROLE)
            if not _exists(connection, "SELECT FROM pg_roles WHERE rolname = %s"):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            if not _exists(connection, "SELECT FROM pg_database WHERE datname = %s"):
                connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(name))
        if not status(self.dsn).installed:
            self._create_extensions()
        install(self.dsn)

    def _create_extensions(self) -> None:
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            for extension in EXTENSIONS:
                with suppress(psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                    connection.execute(
                        sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension))
                    )

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_last_user(descriptor: int) -> bool:
    """Whether nobody else holds the lock that this descriptor shares; takes it for itself then."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exists(connection: psycopg.Connection[tuple[object, ...]], query: str) -> bool:
    return connection.execute(query.encode(), (ROLE,)).fetchone() is not None
