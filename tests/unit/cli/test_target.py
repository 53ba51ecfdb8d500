"""Which database a command works on, and what is said where there is none."""

from __future__ import annotations

import importlib.util
import platform
import sys
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


@pytest.mark.parametrize(
    ("system", "machine", "libc", "said", "do"),
    [
        ("linux", "x86_64", "glibc", "is not installed", "pip install 'durasql[embedded]'"),
        ("darwin", "arm64", "", "is not installed", "pip install 'durasql[embedded]'"),
        ("linux", "x86_64", "", "no embedded PostgreSQL on this platform", "Linux with glibc"),
        ("linux", "riscv64", "glibc", "no embedded PostgreSQL on this platform", "Name a PostgreSQL"),
        ("freebsd14", "amd64", "", "no embedded PostgreSQL on this platform", "Name a PostgreSQL"),
    ],
)
def test_without_the_wheel_one_is_told_what_to_do(
    system: str, machine: str, libc: str, said: str, do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    with pytest.raises(postgres.EmbeddedError, match=said) as caught:
        postgres.binaries()
    assert do in (caught.value.hint or "")
    assert "DURASQL_DSN" in (caught.value.hint or "")
    assert caught.value.exit_code == 5
