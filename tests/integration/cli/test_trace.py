"""P10: `durasql trace` shows a run as executed instructions."""

from __future__ import annotations

from typing import Any

LOOP = """'SELECT 1 AS n' |=> 'n'
~> (@> ('SELECT $n.n + 1 AS n' |=> 'n' ~> ('SELECT $n.n >= 3' ?> df.break('$n') !> 'SELECT 0')))
~> ('SELECT 1' & 'SELECT 2')"""


def run(durasql: Any, database: Any, text: str) -> tuple[str, Any]:
    dsn = ("--dsn", database.owner_dsn)
    id = durasql("run", *dsn, "--json", "-e", text).json["id"]
    return id, durasql("trace", *dsn, id, "--json").json


def test_p10_every_executed_instruction_in_order(durasql: Any, database: Any) -> None:
    _, shown = run(durasql, database, LOOP)
    steps = [(entry["pc"], entry["op"], entry["generation"], entry["state"]) for entry in shown["entries"]]
    assert steps[0] == (0, "SQL", "", "done")
    assert (2, "SQL", "2", "done") in steps, "the latest generation of the loop"
    assert (5, "BREAK", "2", "broken") in steps
    assert (10, "NEXT", "2", "done") in steps
    assert [op for _, op, *_ in steps[-3:]] == ["SQL", "JOIN", "THEN"]
    first = shown["entries"][0]
    assert (first["bind"], first["attempts"], first["guarantee"]) == ("n", 1, "exactly once")
    assert first["value"] == '{"rows":[{"n":1}],"row_count":1}'
    assert shown["entries"][-1]["value"].startswith("[{"), "the values that a JOIN refers to"


def test_p10_as_a_table_with_the_error(durasql: Any, database: Any) -> None:
    id, shown = run(durasql, database, "'SELECT 1' ~> 'SELECT 1/0'")
    assert [entry["state"] for entry in shown["entries"]] == ["done", "failed", "failed"]
    lines = durasql("trace", "--dsn", database.owner_dsn, id).out.splitlines()
    assert lines[0].startswith(f"instance {id} · failed · program 1 · ")
    assert lines[1].split() == [
        "at",
        "pc",
        "op",
        "gen",
        "status",
        "took",
        "tries",
        "binds",
        "guarantee",
        "value",
    ]
    assert lines[3].endswith("SQL execution failed: error returned from database: division by zero")


def test_p10_an_instance_that_nobody_has_begun(durasql: Any, database: Any) -> None:
    dsn = ("--dsn", database.owner_dsn)
    id = durasql("start", *dsn, "-e", "'SELECT 1'").out.strip()
    assert durasql("trace", *dsn, id, "--json").json["entries"] == []


def test_p6_nobody_traces_another_roles_instance(durasql: Any, database: Any) -> None:
    id, _ = run(durasql, database, "'SELECT 1'")
    done = durasql("trace", "--dsn", database.dsn(database.role()), id)
    assert done.code == 2 and "not found" in done.err


def test_a_granted_role_traces_its_own(durasql: Any, database: Any) -> None:
    dsn = ("--dsn", database.dsn(database.role()))
    id = durasql("run", *dsn, "--json", "-e", "'SELECT 1' & 'SELECT 2'").json["id"]
    assert [entry["op"] for entry in durasql("trace", *dsn, id, "--json").json["entries"]][-1] == "JOIN"
