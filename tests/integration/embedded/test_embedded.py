"""The embedded server: set up by itself, shared by concurrent commands, back after any kill."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from durasql.embedded import Embedded
from durasql.postgres import EmbeddedError


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place that the server's OS user can reach; the server in it is stopped afterwards."""
    path = Path(tempfile.mkdtemp(prefix="durasql-embedded-"))
    yield path
    Embedded(path).stop()
    shutil.rmtree(path)


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def test_it_starts_for_its_first_user_and_stops_after_its_last(directory: Path) -> None:
    server = Embedded(directory)
    with server.running() as dsn:
        assert value(dsn, "SELECT to_regnamespace('df') IS NOT NULL")
        with Embedded(directory).running():
            first = server.status().pid
        assert server.status().pid == first is not None
    assert not server.status().running


def test_its_role_is_an_ordinary_one_that_owns_the_database(directory: Path) -> None:
    with Embedded(directory).running() as dsn:
        query = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = user"
        assert value(dsn, query) is False
        assert (
            value(dsn, "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()")
            == "durasql"
        )


def test_concurrent_first_users_do_not_clash(directory: Path) -> None:
    seen: list[object] = []

    def use() -> None:
        with Embedded(directory).running() as dsn:
            seen.append(value(dsn, "SELECT count(*) > 0 FROM df.migrations"))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 3
    assert not Embedded(directory).status().running


def test_it_comes_back_after_the_server_was_killed(directory: Path) -> None:
    with Embedded(directory).running() as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept (id integer)")
        pid = Embedded(directory).status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        with Embedded(directory).running():
            assert value(dsn, "SELECT count(*) FROM kept") == 0


def test_a_pid_file_of_another_process_is_no_server(directory: Path) -> None:
    with Embedded(directory).running():
        pass
    (directory / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{directory / 'data'}\n")
    assert Embedded(directory).status().pid is None
    with Embedded(directory).running() as dsn:
        assert value(dsn, "SELECT 1") == 1


def test_a_directory_with_other_contents_is_left_alone(directory: Path) -> None:
    (directory / "letter.txt").write_text("dear")
    before = directory.stat()
    with pytest.raises(EmbeddedError, match="was not made by durasql"), Embedded(directory).running():
        pass
    assert directory.stat() == before


def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    (directory / "start.lock").touch()
    (directory / "data").mkdir()
    (directory / "data" / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 13; the embedded server is PostgreSQL 18"):
        Embedded(directory)._enter()


def test_a_long_path_gets_a_short_socket(directory: Path) -> None:
    deep = directory / ("x" * 60) / ("y" * 60)
    for folder in (deep.parent,):
        folder.mkdir()
    directory.chmod(0o755)
    with Embedded(deep).running() as dsn:
        assert value(dsn, "SELECT 1") == 1
