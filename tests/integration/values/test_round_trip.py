"""Values against a real server: what goes out into a statement is what comes back in its result.

The server is the judge of literals and of types; nothing here knows schema df.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.pq.abc import PGresult

from durasql.statement import classify
from durasql_runtime.catalog import TYPE_QUERY, Catalog, type_parameter
from durasql_runtime.results import ResultTooLarge, StepResult, step_result, type_oids
from durasql_runtime.substitute import Scope, SubstituteError, substitute_sql


class _Cluster(Protocol):
    def superuser_dsn(self, database: str = ...) -> str: ...


class Server:
    """A session as a step has it: text format, UTC, ISO dates."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.catalog = Catalog()

    def send(self, sql: str, params: list[bytes | None] | None = None) -> PGresult:
        result = self.connection.pgconn.exec_params(sql.encode(), params)
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise AssertionError(result.error_message.decode() + sql)
        return result

    def step(self, sql: str) -> StepResult:
        """Run a statement as a step does, learning types on the way."""
        result = self.send(sql)
        catalog = self.catalog
        unknown = catalog.unknown(type_oids(result))
        if unknown:
            catalog = catalog.learned(unknown, self.send(TYPE_QUERY, [type_parameter(unknown)]))
        return step_result([result], catalog)

    def value(self, expression: str) -> Any:
        """The JSON value of one SQL expression."""
        return json.loads(self.text(expression))

    def text(self, expression: str) -> str:
        """The JSON text of one SQL expression."""
        value = self.step(f"SELECT {expression} AS v").value
        assert value.startswith('{"rows":[{"v":') and value.endswith('}],"row_count":1}')
        return value.removeprefix('{"rows":[{"v":').removesuffix('}],"row_count":1}')


@pytest.fixture(scope="module")
def server(bare_cluster: _Cluster) -> Iterator[Server]:
    options = "-c TimeZone=UTC -c DateStyle=ISO,MDY -c client_encoding=UTF8"
    with psycopg.connect(bare_cluster.superuser_dsn(), autocommit=True, options=options) as connection:
        connection.execute("CREATE SCHEMA round_trip")
        connection.execute("SET search_path = round_trip")
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'so so')")
        connection.execute("CREATE TYPE place AS (name text, at timestamptz, moods mood[])")
        connection.execute("CREATE DOMAIN positive AS integer CHECK (value > 0)")
        connection.execute("CREATE TYPE visit AS (n positive, place place)")
        connection.execute("CREATE TABLE empty_table (id bigint, name text, price numeric, ok boolean)")
        yield Server(connection)
        connection.execute("DROP SCHEMA round_trip CASCADE")


# ------------------------------------------------------------------------------------------- results

SINCE = "2024-06-15 12:30:00.5+02"

EXPRESSIONS = [
    ("true", "true"),
    ("1::smallint", "1"),
    ("9223372036854775807", "9223372036854775807"),
    ("0.1::float8", "0.1"),
    ("2::float8", "2.0"),
    ("1e300::float8", "1e+300"),
    ("'NaN'::float8", "null"),
    ("'-Infinity'::float4", "null"),
    ("3.14::real", "3.140000104904175"),
    ("'a\"b\\\n\u0001é😀'::text", '"a\\"b\\\\\\n\\u0001é😀"'),
    ("'x'::varchar(3)", '"x"'),
    ("'x'::char(3)", '"x  "'),
    ("'x'::name", '"x"'),
    ("'untyped'", '"untyped"'),
    ("123456.78900000", '"123456.78900000"'),
    ("1e-30::numeric", '"0.000000000000000000000000000001"'),
    ("'NaN'::numeric", '"NaN"'),
    ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
    (f"'{SINCE}'::timestamptz", '"2024-06-15T10:30:00.500+00:00"'),
    ("'2024-06-15 12:30'::timestamp", '"2024-06-15T12:30:00"'),
    ("'2024-06-15'::date", '"2024-06-15"'),
    ("'infinity'::date", '"infinity"'),
    ("'0044-03-15 BC'::date", '"0044-03-15 BC"'),
    ("'infinity'::timestamptz", '"infinity"'),
    ("""'{"b": 1.50,\n "a" : "x  y", "b": [1 , 2]}'::json""", '{"b":1.50,"a":"x  y","b":[1,2]}'),
    ("""'{"b": 1.50, "a" : "x  y"}'::jsonb""", '{"a":"x  y","b":1.50}'),
    ("'null'::jsonb", "null"),
    ("pg_sleep(0)", "null"),
    ("NULL::bytea", "null"),
    (r"'\xDEAD'::bytea", r'"\\xdead"'),
    ("'1 day 02:03'::interval", '"1 day 02:03:00"'),
    ("'02:03'::time", '"02:03:00"'),
    ("'10.0.0.0/8'::inet", '"10.0.0.0/8"'),
    ("26::oid", '"26"'),
    ("'[1,5)'::int4range", '"[1,5)"'),
    ("'{[1,5),[7,9)}'::int4multirange", '"{[1,5),[7,9)}"'),
    ("B'101'", '"101"'),
    ("point(1,2)", '"(1,2)"'),
    ("'pg_class'::regclass", '"pg_class"'),
    ("'so so'::mood", '"so so"'),
    ("5::positive", "5"),
    ("ARRAY[1,NULL,3]", "[1,null,3]"),
    ("ARRAY[[1,2],[3,4]]", "[[1,2],[3,4]]"),
    ("'[3:4]={1,2}'::int[]", "[1,2]"),
    ("'{}'::text[]", "[]"),
    ("ARRAY['a b', 'NULL', NULL, '', 'q\"\\']", r'["a b","NULL",null,"","q\"\\"]'),
    ("ARRAY[1.50, NULL]", '["1.50",null]'),
    ("""ARRAY['{"a": [1]}'::jsonb]""", '[{"a":[1]}]'),
    (f"ARRAY['{SINCE}'::timestamptz]", '["2024-06-15T10:30:00.500+00:00"]'),
    ("ARRAY['so so'::mood, 'sad']", '["so so","sad"]'),
    ("ARRAY[5::positive]", "[5]"),
    ("ARRAY[box '(1,1),(0,0)', box '(3,3),(2,2)']", '["(1,1),(0,0)","(3,3),(2,2)"]'),
    (
        f"ROW('a,\"b', '{SINCE}', '{{sad,so so}}')::place",
        '{"name":"a,\\"b","at":"2024-06-15T10:30:00.500+00:00","moods":["sad","so so"]}',
    ),
    ("ROW(1, ROW(NULL, NULL, NULL))::visit", '{"n":1,"place":{"name":null,"at":null,"moods":null}}'),
    (
        "ARRAY[ROW(1, ROW('x', NULL, '{}'))::visit, NULL]",
        '[{"n":1,"place":{"name":"x","at":null,"moods":[]}},null]',
    ),
    ("ROW(1, 'a', NULL)", '{"f1":"1","f2":"a","f3":null}'),
    ("'1 2'::int2vector", '"1 2"'),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_L11_every_type_has_json(server: Server, expression: str, expected: str) -> None:
    """Also L14: numeric is PostgreSQL's own text."""
    assert server.text(expression) == expected
    json.loads(expected)


def test_every_builtin_type_can_be_a_column(server: Server) -> None:
    """L11: no column fails, whatever type it has."""
    names = server.send(
        "SELECT format_type(oid, NULL) FROM pg_type WHERE typtype IN ('b', 'r', 'm', 'e', 'd') "
        "AND typisdefined AND typnamespace = 'pg_catalog'::regnamespace"
    )
    types = [(names.get_value(row, 0) or b"").decode() for row in range(names.ntuples)]
    columns = ", ".join(f'NULL::{name} AS "c{number}"' for number, name in enumerate(types))
    rows = json.loads(server.step(f"SELECT {columns}").value)["rows"]
    assert set(rows[0].values()) == {None} and len(rows[0]) == len(types)


def test_catalog_rows_are_composites(server: Server) -> None:
    row = server.value("(SELECT c FROM pg_class c WHERE relname = 'pg_class')")
    assert (row["relname"], row["relkind"], row["relhasindex"]) == ("pg_class", "r", True)


def test_L11_a_changed_composite_is_seen_at_once(server: Server) -> None:
    server.send("CREATE TYPE growing AS (a int)")
    assert server.value("ROW(1)::growing") == {"a": 1}
    server.send("ALTER TYPE growing ADD ATTRIBUTE b int")
    server.send("ALTER TYPE growing RENAME ATTRIBUTE a TO c")
    assert server.value("ROW(1, 2)::growing") == {"c": 1, "b": 2}


def test_L11_known_types_cost_no_question(server: Server) -> None:
    server.value("ARRAY['sad'::mood]")
    assert server.catalog.unknown(type_oids(server.send("SELECT 'sad'::mood, ARRAY['sad'::mood]"))) == []


def test_L10_the_count_of_a_statement_without_rows(server: Server) -> None:
    server.send("CREATE TABLE counted (n int)")
    counts = {"INSERT INTO counted VALUES (1), (2)": 2, "DELETE FROM counted WHERE n > 5": 0}
    for sql, count in counts.items():
        assert server.step(sql).value == f'{{"rows":[],"row_count":0,"affected":{count}}}'
    assert server.step("UPDATE counted SET n = 1 RETURNING n").value == (
        '{"rows":[{"n":1},{"n":1}],"row_count":2}'
    )
    assert server.step("CREATE TABLE copied AS SELECT 1").value == '{"rows":[],"row_count":0,"affected":1}'
    for sql in ("DROP TABLE counted, copied", "DO 'BEGIN END'", ""):
        assert server.step(sql).value == '{"rows":[],"row_count":0}'


def test_L12_duplicate_column_names(server: Server) -> None:
    assert server.step("SELECT 1, 'x', 2 AS b").value == (
        '{"rows":[{"?column?":1,"?column?_2":"x","b":2}],"row_count":1}'
    )


def test_rows_without_columns_count(server: Server) -> None:
    assert server.step("SELECT FROM generate_series(1, 2)").value == '{"rows":[{},{}],"row_count":2}'


def test_P9_a_large_result_is_refused_by_a_message_that_tells_how_to_allow_it(server: Server) -> None:
    result = server.send("SELECT repeat('é', 100) AS x FROM generate_series(1, 10)")
    size = len(step_result([result]).value.encode())
    assert step_result([result], limit=size + 10).value
    with pytest.raises(ResultTooLarge) as caught:
        step_result([result], limit=size - 30)
    assert "max_result_bytes" in (caught.value.hint or "")


# ------------------------------------------------------------------------------------------- substitution

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.text(
    alphabet="'\\$\"ax;-/*\n{}!0", max_size=12
)
LITERALS = [
    "$x",
    "'$x'",
    "E'$x'",
    "e'$x'",
    "U&'$x'",
    "U&'$x' UESCAPE '!'",
    "$q$$x$q$",
    "N'$x'",
    "E''\n'$x'",
    "'' /* ' */ || $x -- '\n",
    "$a$it's$a$ || '' || substr('..$x..', 3, length('$x')) || '' || $b$$b$",
]


def _bound(text: str) -> Scope:
    row = json.dumps({"rows": [{"v": text}], "row_count": 1}, ensure_ascii=False, separators=(",", ":"))
    return Scope({"x": row})


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, literal=st.sampled_from(LITERALS))
def test_L5_any_text_comes_back_from_any_literal(server: Server, text: str, literal: str) -> None:
    if "q$" in text and literal.startswith("$q$"):
        return
    try:
        sql = substitute_sql(f"SELECT {literal} AS v, 1 AS still_here", _bound(text))
    except SubstituteError as error:
        assert "dollar-quoted" in error.message and literal.startswith("$q$")
        return
    prefix = "it's" if literal.startswith("$a$") else ""
    assert json.loads(server.step(sql).value)["rows"] == [{"v": prefix + text, "still_here": 1}]


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_L5_any_text_comes_through_a_do_block(server: Server, text: str) -> None:
    template = "DO $$ BEGIN PERFORM set_config('t.v', $x, false); END $$"
    for block in (template, "DO 'BEGIN PERFORM set_config(''t.v'', $x, false); END'"):
        server.send(substitute_sql(block, _bound(text)))
        assert server.value("current_setting('t.v')") == text


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_L5_a_function_body_is_code(server: Server, text: str) -> None:
    template = "CREATE OR REPLACE FUNCTION body() RETURNS text AS $b$ SELECT $x $b$ LANGUAGE sql"
    server.send(substitute_sql(template, _bound(text)))
    assert server.value("body()") == text


@settings(max_examples=100, deadline=None)
@given(number=st.integers(-(2**63), 2**63 - 1) | st.decimals(allow_nan=False, allow_infinity=False, places=5))
def test_L8_numbers_keep_their_value_in_any_expression(server: Server, number: object) -> None:
    scope = Scope({"n": f'{{"rows":[{{"v":{number}}}],"row_count":1}}'})
    sql = substitute_sql(
        "SELECT 0.0-$n = 0-'$n'::numeric AS same, $n::numeric = '$n'::numeric AS cast", scope
    )
    assert json.loads(server.step(sql).value)["rows"] == [{"same": True, "cast": True}]


ROW = {"id": st.integers(-(2**31), 2**31 - 1) | st.none(), 'a"b': TEXTS | st.none()}
ROWS = st.lists(st.fixed_dictionaries(ROW), max_size=4)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_L7_row_sets_come_back(server: Server, rows: list[dict[str, Any]]) -> None:
    text = json.dumps({"rows": rows, "row_count": len(rows)}, ensure_ascii=False)
    scope = Scope({"batch": text}, columns={"batch": (("id", "integer"), ('a"b', "text"))})
    template = """SELECT batch.id + 0 AS id, batch."a""b" || '' AS "a""b" FROM $batch.*"""
    assert json.loads(server.step(substitute_sql(template, scope)).value)["rows"] == rows


def test_L7_a_step_without_rows_keeps_names_and_types(server: Server) -> None:
    empty = server.step("SELECT * FROM empty_table")
    assert empty.columns == (("id", "bigint"), ("name", "text"), ("price", "text"), ("ok", "boolean"))
    scope = Scope({"none": empty.value}, columns={"none": empty.columns})
    sql = "INSERT INTO empty_table SELECT id, name, price::numeric, ok FROM $none.*"
    assert server.step(substitute_sql(sql, scope)).value == '{"rows":[],"row_count":0,"affected":0}'


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_values_survive_the_way_back_into_a_statement(server: Server, expression: str, expected: str) -> None:
    first = server.step(f"SELECT {expression} AS v")
    sql = substitute_sql("SELECT $x? AS v", Scope({"x": first.value}))
    value = json.loads(expected)
    again = server.step(sql).value
    read = json.loads(again)["rows"][0]["v"]
    if isinstance(value, list | dict):
        assert json.loads(read) == value
    else:
        assert (float(read) if isinstance(value, float) else read) == value


def test_L9_the_split_statements_are_what_the_server_accepts_one_by_one(server: Server) -> None:
    text = (
        "CREATE TEMP TABLE l9 (a text); INSERT INTO l9 VALUES (';'), (E'\\';'); SELECT count(*) AS n FROM l9;"
    )
    results = [server.step(statement).value for statement in classify(text).statements]
    assert results[-1] == '{"rows":[{"n":2}],"row_count":1}'
