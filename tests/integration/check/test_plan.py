"""P8: `durasql check --dsn` names what only a server knows, with its place, and executes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durasql.check.run import findings
from durasql.codes import CODES
from durasql.errors import DatabaseUnreachable, Diagnostic, PermissionDenied
from durasql.source import Source
from durasql.store.explaining import Refusal, Session
from durasql.store.plan import plan
from durasql.syntax import parse


@pytest.fixture
def shop(database: Any) -> Any:
    """A database with tables `orders` and `secrets`."""
    with database.connect() as connection:
        connection.execute("CREATE TABLE orders (id bigint, day date, cents integer, note text, tags text[])")
        connection.execute("CREATE TABLE secrets (word text)")
        connection.execute("CREATE SEQUENCE numbers")
        connection.execute("CREATE FUNCTION discount(n integer) RETURNS integer LANGUAGE sql RETURN n / 2")
        connection.execute("CREATE PROCEDURE tidy(n integer) LANGUAGE sql AS 'SELECT n'")
    return database


def found_in(shop: Any, text: str, role: str | None = None) -> tuple[Diagnostic, ...]:
    """What check says with the server's help, without the notes that it has on its own."""
    source = Source(text)
    workflow = parse(source)
    planned = plan(workflow, source, shop.owner_dsn, role)
    found = findings(workflow, source, planned.shapes, planned.diagnostics)
    return tuple(item for item in found if item.code not in ("I201", "I202", "I203", "I204", "W215"))


BAD = {
    "table": ("'SELECT * FROM ordres'", "E241", "ordres", "did you mean orders?"),
    "schema": ("'SELECT * FROM shop.orders'", "E241", "shop.orders", "did you mean orders?"),
    "column": ("'SELECT cent FROM orders'", "E241", "cent", "perhaps you meant to reference the column"),
    "function": ("'SELECT discuont(1)'", "E241", "discuont", "did you mean discount?"),
    "procedure": ("'CALL tidey(1)'", "E241", "tidey", "did you mean tidy?"),
    "type": ("'SELECT 1::monay'", "E241", "monay", ""),
    "name in a literal": ("$$SELECT 'nope'::regclass$$", "E241", "'nope'", ""),
    "second statement": ("'SELECT 1; SELECT * FROM nope'", "E241", "nope", ""),
    "behind text that is longer": ("'SELECT ''é'', x FROM orders'", "E241", "x", ""),
    "behind references": (
        "'SELECT 1 AS n' |=> 'a' ~> 'SELECT $a, $a.n, wrong FROM orders'",
        "E241",
        "wrong",
        "",
    ),
    "insert": ("'INSERT INTO orders (idd) VALUES (1)'", "E241", "idd", "did you mean id?"),
    "arithmetic": ("'SELECT 1/0'", "E243", "'SELECT 1/0'", ""),
    "grouping": ("'SELECT id, count(*) FROM orders'", "E243", "id", ""),
    "types": ("'SELECT 1' |=> 'a' ~> 'SELECT lower(orders.day + $a::text) FROM orders'", "W241", "+", ""),
    "repeated": ("'SELECT a.id, b.id FROM orders a, orders b'", "W242", None, "becomes id_2"),
    "field of a star": ("'SELECT * FROM orders' |=> 'o' ~> 'SELECT $o.dya'", "E216", "$o.dya", "$o.day"),
    "row set": (
        "'SELECT id, day FROM orders' |=> 'o' ~> 'SELECT o.idd FROM $o.*'",
        "E241",
        "o.idd",
        "perhaps you meant",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_p8_a_mistake_only_the_server_sees(shop: Any, name: str) -> None:
    text, code, marked, hint = BAD[name]
    (found,) = found_in(shop, text)
    assert found.code == code, found
    assert found.span is not None
    assert marked is None or text[found.span.start : found.span.end] == marked
    assert hint in (found.hint or "")


GOOD = {
    "parameters of every type": (
        "'SELECT id, day, note, tags FROM orders' |=> 'o' ~> "
        "'SELECT $o + 1, $o.day::date, upper($o.note), cents FROM orders WHERE id = $o AND note = $o.note'"
    ),
    "a value that only text fits": "'SELECT * FROM orders' |=> 'o' ~> $$SELECT interval $o.note$$",
    "row set": "'SELECT id FROM orders' |=> 'o' ~> 'SELECT x.id + 1 FROM $o.* JOIN orders x ON x.id = o.id'",
    "division by a value": "'SELECT cents FROM orders' |=> 'o' ~> 'SELECT 100 / ($o - 1)'",
    "limits": "'SELECT 5' |=> 'n' ~> 'SELECT * FROM orders LIMIT $n'",
    "a signal's data": "df.wait_for_signal('go') |=> 's' ~> 'SELECT $s::jsonb, $s.data'",
    "a known variable": "SELECT df.setvar('t', 'orders'); SELECT df.start('SELECT * FROM {t}');",
    "built-in variables": "$$INSERT INTO orders (note) VALUES ('{sys_instance_id}{sys_label}')$$",
    "procedure": "'SELECT 1' |=> 'n' ~> 'CALL tidy($n)'",
    "utility statements": "'VACUUM orders' ~> 'ANALYZE orders' ~> 'SET work_mem = 1000'",
    "number of rows": "'UPDATE orders SET note = NULL' |=> 'u' ~> 'SELECT $u + 1'",
}


@pytest.mark.parametrize("name", GOOD)
def test_no_false_alarm(shop: Any, name: str) -> None:
    assert [item.message for item in found_in(shop, GOOD[name])] == []


OWN = {
    "table": "'CREATE TABLE fresh (x int)' ~> 'SELECT x FROM fresh'",
    "table in the same step": "'CREATE TABLE fresh (x int); INSERT INTO fresh VALUES (1)'",
    "table in a schema": "'CREATE SCHEMA made CREATE TABLE fresh (x int)' ~> 'SELECT x FROM made.fresh'",
    "column": "'ALTER TABLE orders ADD COLUMN extra int' ~> 'SELECT extra FROM orders'",
    "result of a query": "'SELECT 1 AS x INTO fresh' ~> 'SELECT x FROM fresh'",
    "function": "'CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql RETURN $1' ~> 'SELECT twice(1)'",
    "type": "$$CREATE TYPE mood AS ENUM ('fine')$$ ~> $$SELECT 'fine'::mood$$",
    "anything": "'DO $x$ BEGIN CREATE TABLE fresh (x int); END $x$' ~> 'SELECT x FROM fresh'",
    "a name in a literal": "'CREATE TABLE fresh (x int)' ~> $$SELECT 'fresh'::regclass$$",
    "search path": "'SET LOCAL search_path = elsewhere; SELECT * FROM hidden'",
}


@pytest.mark.parametrize("name", OWN)
def test_what_the_workflow_creates_is_no_error(shop: Any, name: str) -> None:
    assert {item.code for item in found_in(shop, OWN[name])} == {"I241"}


def test_one_note_for_each_thing_that_the_workflow_creates(shop: Any) -> None:
    use = "'SELECT * FROM fresh'"
    found = found_in(shop, f"'CREATE TABLE fresh (x int)' ~> {use} ~> {use} ~> 'SELECT 1 FROM fresh'")
    assert [item.code for item in found] == ["I241"]


def test_an_unset_variable_is_said(shop: Any) -> None:
    (found,) = found_in(shop, "'SELECT * FROM {table}'")
    assert (found.code, found.message) == ("I242", "not planned: {table} is not set")


def test_the_roles_own_variables_are_used(shop: Any) -> None:
    with shop.connect() as connection:
        connection.execute("SELECT df.setvar('table', 'orders')")
    assert found_in(shop, "'SELECT * FROM {table}'") == ()


def test_missing_privileges_as_another_role(shop: Any) -> None:
    role = shop.role()
    with pytest.raises(PermissionDenied):
        found_in(shop, "'SELECT * FROM secrets'", role)
    shop.cluster.execute(f"GRANT {role} TO {shop.owner}", shop.name)
    (found,) = found_in(shop, "'SELECT ''secrets'', s.* FROM secrets s'", role)
    assert found.code == "E242" and "permission denied for table secrets" in found.message
    assert found.span is not None and found.span.start == 30
    assert found.hint is not None and role in found.hint
    assert found_in(shop, "'SELECT * FROM secrets'") == ()


def test_nothing_is_executed(shop: Any) -> None:
    found_in(
        shop, "'INSERT INTO orders (id) SELECT nextval(''numbers'')' ~> 'DELETE FROM orders RETURNING 1'"
    )
    with shop.connect() as connection:
        row = connection.execute("SELECT is_called, (SELECT count(*) FROM orders) FROM numbers").fetchone()
    assert row == (False, 0)


def test_steps_of_another_database_are_planned_there(shop: Any, empty_database: str) -> None:
    name = empty_database.split("dbname=")[1].split()[0]
    assert found_in(shop, "SELECT df.start('SELECT * FROM orders');") == ()
    shop.cluster.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
    (found,) = found_in(shop, f"SELECT df.start('SELECT * FROM orders', database => '{name}');")
    assert found.code == "E241"
    with pytest.raises(DatabaseUnreachable):
        found_in(shop, "SELECT df.start('SELECT 1', database => 'nowhere');")


def test_server_findings_can_be_silenced(shop: Any) -> None:
    assert found_in(shop, "-- durasql: allow W242\n'SELECT a.id, b.id FROM orders a, orders b'") == ()


def test_a_server_without_schema_df_plans_too(empty_database: str) -> None:
    source = Source("'SELECT * FROM nope'")
    (found,) = plan(parse(source), source, empty_database).diagnostics
    assert found.code == "E241"


def test_every_server_code_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{code}"' in text for code in CODES if CODES[code].found_by.endswith("--dsn"))


def test_p9_a_lock_is_not_waited_for(shop: Any) -> None:
    with shop.connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        (found,) = found_in(shop, "'SELECT * FROM orders'")
    assert found.code == "I242" and "lock timeout" in found.message


def test_a_database_that_goes_away_is_no_finding(shop: Any) -> None:
    source = Source("'SELECT pg_terminate_backend(pg_backend_pid())'")
    assert plan(parse(source), source, shop.owner_dsn).diagnostics == ()
    session = Session(shop.owner_dsn)
    backend = session._connection.info.backend_pid
    shop.cluster.execute(f"SELECT pg_terminate_backend({backend})")
    with pytest.raises(DatabaseUnreachable):
        session.plan("SELECT 1", explain=True)
    session.close()


def test_p6_one_statement_at_a_time_whatever_the_server_reads_in_it(shop: Any) -> None:
    with shop.connect() as connection:
        connection.execute(f"ALTER ROLE {shop.owner} SET standard_conforming_strings = off")
    text = "$$SELECT 'a\\'' AS x; COMMIT; DELETE FROM orders; --'$$"
    try:
        found_in(shop, text)
        session = Session(shop.owner_dsn)
        refused = session.plan("SELECT 1; COMMIT; DELETE FROM orders", explain=True)
        assert isinstance(refused, Refusal) and "multiple commands" in refused.message
        session.close()
    finally:
        with shop.connect() as connection:
            connection.execute(f"ALTER ROLE {shop.owner} RESET standard_conforming_strings")
