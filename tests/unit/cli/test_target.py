"""Which database a command works on, and what is said where there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import pytest

from durasql import postgres
from durasql.cli.target import PG_VARIABLES, choose


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PG_VARIABLES, "DURASQL_DSN"):
        monkeypatch.delenv(name, raising=False)


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURASQL_DSN", "dbname=b")
    monkeypatch.setenv("PGDATABASE", "c")
    assert choose("dbname=a", None).dsn == "dbname=a"
    assert choose(None, Path("/d")).dsn is None
    assert choose(None, None).dsn == "dbname=b"


def test_durasql_dsn_wins_over_libpqs_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATABASE", "c")
    assert (choose(None, None).dsn, choose(None, None).origin) == ("", "PGDATABASE")


def test_without_any_it_is_the_embedded_server() -> None:
    assert choose(None, None).dsn is None
    assert choose(None, None).origin == "the embedded server"


def test_two_options_are_one_too_many() -> None:
    with pytest.raises(click.UsageError, match="give one of them"):
        choose("dbname=a", Path("/d"))


def test_a_platform_without_the_wheel_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(postgres.EmbeddedError, match="no embedded PostgreSQL on this platform") as caught:
        postgres.binaries()
    assert "DURASQL_DSN" in (caught.value.hint or "")
    assert caught.value.exit_code == 5
