"""Which statements can share the journal's transaction (P2), which are refused; several in one step (L9)."""

from __future__ import annotations

import postgast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql.statement import classify, may_commit_itself, runs_outside, split

INSIDE = [
    "SELECT 1",
    "  with x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "(SELECT 1) UNION (SELECT 2)",
    "ANALYZE t",
    "CREATE INDEX i ON t (a)",
    "DROP INDEX i",
    "CREATE TABLE concurrently (a int)",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
    "CLUSTER t USING i",
    "REINDEX TABLE t",
    'REINDEX TABLE "system"',
    "ALTER TYPE color ADD VALUE 'green'",
    "ALTER TABLE t DETACH PARTITION p",
    "ALTER DATABASE d SET work_mem = '1MB'",
    "ALTER SUBSCRIPTION s DISABLE",
    "DISCARD TEMP",
    "COPY t FROM '/tmp/x'",
    "COPY t TO PROGRAM 'cat'",
    "SET LOCAL work_mem = '1MB'",
    "NOTIFY c, 'vacuum'",
    "CREATE TABLE t AS SELECT 'COMMIT' AS a",
    "/* VACUUM */ -- COMMIT\n SELECT 1",
]
OUTSIDE = [
    "VACUUM",
    "vacuum (analyze) t",
    "/* c */ VACUUM t",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
    "create index /* x */ concurrently on t (a)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX INDEX CONCURRENTLY i",
    "REINDEX (VERBOSE, CONCURRENTLY) TABLE t",
    "REINDEX (TABLESPACE x) SCHEMA s",
    "REINDEX DATABASE d",
    "REINDEX SYSTEM d",
    "CLUSTER",
    "CLUSTER VERBOSE;",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    "CREATE DATABASE d",
    "DROP DATABASE IF EXISTS d",
    "CREATE TABLESPACE x LOCATION '/x'",
    "DROP TABLESPACE x",
    "ALTER DATABASE d SET TABLESPACE x",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
    "DROP SUBSCRIPTION s",
    "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
    "DISCARD ALL",
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
]
CONTROL = [
    "BEGIN",
    "start transaction isolation level serializable",
    "COMMIT",
    "COMMIT AND CHAIN",
    "END",
    "ROLLBACK TO s",
    "ABORT",
    "SAVEPOINT s",
    "RELEASE s",
    "PREPARE TRANSACTION 'x'",
    "SELECT 1; COMMIT; SELECT 2",
]
COPY = ["COPY t FROM STDIN", "copy (select ';') to stdout with csv", "COPY t (a) FROM stdin;"]


@pytest.mark.parametrize("sql", INSIDE)
def test_P2_statements_that_share_the_transaction(sql: str) -> None:
    kind = classify(sql)
    assert (kind.transactional, kind.refusal) == (True, None)


@pytest.mark.parametrize("sql", OUTSIDE)
def test_P2_statements_that_refuse_a_transaction_block(sql: str) -> None:
    kind = classify(sql)
    assert (kind.transactional, kind.refusal, kind.transaction_control) == (False, None, False)


@pytest.mark.parametrize("sql", CONTROL)
def test_transaction_control_is_refused_with_the_reason(sql: str) -> None:
    kind = classify(sql)
    assert kind.transaction_control
    assert "every step is a transaction of its own" in (kind.refusal or "")


@pytest.mark.parametrize("sql", COPY)
def test_copy_through_the_client_is_refused(sql: str) -> None:
    kind = classify(sql)
    assert kind.copy
    assert "COPY FROM STDIN and COPY TO STDOUT are not possible" in (kind.refusal or "")


def test_a_refusal_names_the_statement() -> None:
    assert (classify("start transaction").refusal or "").startswith("START TRANSACTION is not possible")
    assert (classify("SELECT 1; VACUUM t").refusal or "").startswith("VACUUM cannot run in a transaction")
    assert (classify("SELECT 1; DROP DATABASE x").refusal or "").startswith("DROP DATABASE cannot run")


@pytest.mark.parametrize("sql", ["CALL p()", "do $$ begin commit; end $$;", "-- x\nCALL p()"])
def test_a_procedure_may_commit_and_is_then_repeated_outside(sql: str) -> None:
    kind = classify(sql)
    assert kind.transactional and may_commit_itself(kind)
    assert runs_outside(kind, "2D000") and runs_outside(kind, "25001")
    assert not runs_outside(kind, "22012")


def test_only_a_step_of_one_statement_is_repeated_outside() -> None:
    assert not runs_outside(classify("CALL p(); CALL p()"), "2D000")
    assert not runs_outside(classify("SELECT 1"), "2D000")
    assert runs_outside(classify("CLUSTER partitioned"), "25001")


@pytest.mark.parametrize("sql", ["", "  ", ";", " ; ;; -- nothing\n /* */ ;"])
def test_an_empty_text_has_no_statements(sql: str) -> None:
    assert classify(sql).statements == ()


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1;", ["SELECT 1"]),
        ("SELECT ';' ; SELECT $$;$$; SELECT \";\" -- ;\n; SELECT /* ; */ 1", None),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", 2),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;"
            "SELECT 3",
            2,
        ),
        ("create or replace procedure p() begin atomic select 1; end", 1),
        ("SELECT begin FROM t; SELECT 2", 2),
        ("nonsense (; SELECT 1", 1),
        ("SELECT 'a;b", ["SELECT 'a;b"]),
        ("SELECT $1; SELECT 2 $ 3", ["SELECT $1", "SELECT 2 $ 3"]),
    ],
)
def test_L9_statements_are_split_as_psql_does(sql: str, statements: list[str] | int | None) -> None:
    found = split(sql)
    if isinstance(statements, int):
        assert len(found) == statements
    else:
        assert found == (statements or ["SELECT ';'", "SELECT $$;$$", 'SELECT ";" -- ;', "SELECT /* ; */ 1"])


part = st.sampled_from(
    [
        "SELECT 1",
        "SELECT ';'",
        "SELECT E'\\';'",
        "SELECT $a$;$$;$a$",
        'SELECT 1 AS "a;b"',
        "SELECT 1 -- ;\n",
        "/* ; /* ; */ */ SELECT 2",
        "SELECT U&'d;'",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
        "SELECT E'a'\n'\\';'",
        "SELECT 'a'\n'\\', 1",
    ]
)


@given(st.lists(part, max_size=5))
def test_L9_splitting_agrees_with_postgresqls_own_parser(parts: list[str]) -> None:
    text = ";".join(parts)
    expected = [one.strip() for one in postgast.split(text)] if parts else []
    assert len(split(text)) == len(parts)
    assert [_bare(one) for one in split(text)] == [_bare(one) for one in expected]


def _bare(statement: str) -> str:
    """Without comments at its ends, which libpg_query drops."""
    return statement.replace("-- ;\n", "").replace("-- ;", "").replace("/* ; /* ; */ */ ", "").strip()


@given(st.text(alphabet="aE'\"$;()-/*&U \n\\b1", max_size=60))
def test_any_text_is_classified_without_losing_code(text: str) -> None:
    kind = classify(text)
    position = 0
    for statement in kind.statements:
        position = text.index(statement, position) + len(statement)
