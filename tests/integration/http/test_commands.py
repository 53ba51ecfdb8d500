"""`durasql http …` and `durasql secret …` against a database."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from durasql.cli.http import http_command
from durasql.cli.secret import secret_command
from durasql_runtime.secrets import SecretError, keys_from_environment, new_key, unseal


def run(command: Any, *arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False, **options)


def ok(result: Result) -> str:
    if result.exception:
        raise result.exception
    return result.output


def test_rules_are_added_listed_and_removed(database):
    dsn = ("--dsn", database.dsn())
    assert (
        ok(run(http_command, "allow", "API.example.com", "--port", "8443", *dsn))
        == "rule 1: allow API.example.com\n"
    )
    assert ok(run(http_command, "deny", "*", "--note", "the rest", *dsn)) == "rule 2: deny *\n"
    ok(run(http_command, "allow", "localhost", "--before", "1", "--scheme", "http", *dsn))
    ok(run(http_command, "allow", "bücher.example", "--private", "--before", "1", *dsn))
    assert run(http_command, "remove", "3", *dsn).return_value == 0
    missing = run(http_command, "remove", "3", *dsn)
    assert missing.return_value == 2
    listed = json.loads(ok(run(http_command, "list", "--json", *dsn)))
    assert [(row["rule"], row["effect"], row["host"], row["private"]) for row in listed] == [
        (1, "allow", "xn--bcher-kva.example", True),
        (2, "allow", "localhost", True),
        (4, "deny", "*", False),
    ]
    assert "the rest" in ok(run(http_command, "list", *dsn))


def test_a_rule_that_is_none_is_refused_by_the_database(database):
    result = run(http_command, "allow", "http://x.example/", "--dsn", database.dsn())
    assert isinstance(result.exception, psycopg.errors.InvalidParameterValue)


@pytest.fixture
def key(monkeypatch) -> str:
    made = new_key()
    monkeypatch.setenv("DURASQL_SECRET_KEY", made)
    return made


def test_a_secret_is_encrypted_before_it_leaves_the_command(database, key):
    role = database.role(include_http=True)
    dsn = ("--dsn", database.dsn())
    said = ok(run(secret_command, "set", "api", "--role", role, *dsn, input="the-value-itself\n"))
    assert said == f"secret api of {role} is set\n"
    with database.connect() as connection:
        ((owner, ciphertext),) = connection.execute(
            "SELECT owner::text, ciphertext FROM df.secrets"
        ).fetchall()
    assert (owner, "the-value" in ciphertext) == (role, False)
    assert unseal(ciphertext, role, "api", keys_from_environment()) == "the-value-itself"
    listed = json.loads(ok(run(secret_command, "list", "--json", *dsn)))
    assert [(row["role"], row["name"]) for row in listed] == [(role, "api")]
    assert run(secret_command, "remove", "api", "--role", role, *dsn).return_value == 0
    assert run(secret_command, "remove", "api", "--role", role, *dsn).return_value == 2


def test_without_a_key_no_secret_is_stored(database, monkeypatch):
    monkeypatch.delenv("DURASQL_SECRET_KEY", raising=False)
    result = run(secret_command, "set", "api", "--dsn", database.dsn(), input="the-value-itself")
    assert isinstance(result.exception, SecretError)
    assert "durasql secret key" in (result.exception.hint or "")


@pytest.mark.parametrize("value", [b"", b"\n", b"abc\n", b"   \n", b"\xff\xfe\xfd\xfc"])
def test_a_value_that_cannot_be_kept_is_refused(database, key, value):
    result = run(secret_command, "set", "api", "--dsn", database.dsn(), input=value)
    assert result.exception is not None
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM df.secrets").fetchone() == (0,)


def test_a_new_key_is_a_key():
    printed = ok(run(secret_command, "key")).strip()
    assert len(keys_from_environment({"DURASQL_SECRET_KEY": printed})) == 1
