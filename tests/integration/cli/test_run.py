"""durasql run and start: exit codes, results, variables, interruption (design, section 9)."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest


def test_a_result_is_one_line_of_json_in_a_pipe(database: Any, durasql: Any) -> None:
    done = durasql(
        "run", "--dsn", database.owner_dsn, "-e", "'SELECT 20' |=> 'a' ~> 'SELECT $a + 1 AS answer'"
    )
    assert (done.code, done.out, done.err) == (0, '{"rows":[{"answer":21}],"row_count":1}\n', "")


def test_json_tells_instance_status_and_result(database: Any, durasql: Any) -> None:
    done = durasql("run", "--dsn", database.owner_dsn, "--label", "l", "-e", "'SELECT ''é'' AS x'", "--json")
    shown = done.json
    assert done.code == 0
    assert (shown["status"], shown["label"], shown["error"]) == ("completed", "l", None)
    assert shown["result"] == {"rows": [{"x": "é"}], "row_count": 1}


def test_a_failed_workflow_exits_with_1(database: Any, durasql: Any) -> None:
    done = durasql("run", "--dsn", database.owner_dsn, "-e", "'SELECT 1/0'")
    assert done.code == 1
    assert done.out == ""
    assert "division by zero" in done.err


def test_e12_a_failure_shows_the_statement_as_it_was_sent_and_the_servers_words(
    database: Any, durasql: Any
) -> None:
    done = durasql("run", "--dsn", database.owner_dsn, "-e", "'SELECT 7' |=> 'a' ~> 'SELECT $a, nope'")
    assert "1 | SELECT 7, nope\n  |           ^\n" in done.err
    assert "sqlstate: 42703" in done.err


def test_a_cancelled_workflow_exits_with_3(database: Any, durasql: Any, process: Any) -> None:
    running = process("run", "--dsn", database.owner_dsn, "-e", "df.sleep(60)")
    id = wait_for(database, "SELECT id FROM df.instances WHERE status = 'running'")
    durasql("cancel", "--dsn", database.owner_dsn, id, "--reason", "enough")
    out, err = running.communicate()
    assert (running.returncode, out) == (3, "")
    assert "enough" in err


def test_a_run_that_takes_too_long_exits_with_4_and_goes_on(database: Any, durasql: Any) -> None:
    done = durasql(
        "run", "--dsn", database.owner_dsn, "--timeout", "0.3", "-e", "df.wait_for_signal('never')"
    )
    assert done.code == 4
    assert "durasql cancel" in done.err
    assert [
        i["status"] for i in durasql("list", "--dsn", database.owner_dsn, "--json").json["instances"]
    ] == ["running"]


def test_a_mistake_in_the_text_exits_with_2_and_writes_nothing(database: Any, durasql: Any) -> None:
    done = durasql("run", "--dsn", database.owner_dsn, "-e", "'SELECT 1' ~> df.slep(3)")
    assert done.code == 2
    assert "<-e>:1:15" in done.err
    assert "^^^" in done.err
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


def test_an_unreachable_database_exits_with_5(durasql: Any) -> None:
    done = durasql("run", "--dsn", "host=/nonexistent", "-e", "'SELECT 1'")
    assert done.code == 5
    assert "cannot reach the database" in done.err


def test_a_dsn_that_is_none_exits_with_5(durasql: Any) -> None:
    done = durasql("run", "--dsn", "nonsense", "-e", "'SELECT 1'")
    assert done.code == 5
    assert "not a usable DSN" in done.err


def test_a_database_without_schema_df_exits_with_5(empty_database: str, durasql: Any) -> None:
    done = durasql("run", "--dsn", empty_database, "-e", "'SELECT 1'")
    assert done.code == 5
    assert "durasql db install" in done.err


def test_a_role_without_privileges_is_told_who_grants_them(database: Any, durasql: Any) -> None:
    done = durasql("run", "--dsn", database.dsn(database.role(grant=False)), "-e", "'SELECT 1'")
    assert done.code == 2
    assert "permission denied for schema df" in done.err
    assert "df.grant_usage" in done.err


def test_variables_are_for_this_run_only(database: Any, durasql: Any) -> None:
    with database.connect() as connection:
        connection.execute("SELECT df.setvar('kept', 'before')")
    options = ("--var", "kept=now", "--var", "fresh=a=b")
    text = "'SELECT ''{kept}'' AS k, ''{fresh}'' AS f'"
    done = durasql("run", "--dsn", database.owner_dsn, *options, "-e", text, "--json")
    assert done.json["result"]["rows"] == [{"k": "now", "f": "a=b"}]
    with database.connect() as connection:
        rows = connection.execute("SELECT name, value FROM df.vars").fetchall()
    assert rows == [("kept", "before")]


def test_a_variable_needs_a_name_and_a_value(durasql: Any) -> None:
    done = durasql("run", "--var", "novalue", "-e", "'SELECT 1'")
    assert done.code == 2
    assert "NAME=VALUE" in done.err


def test_a_file_may_be_what_one_pastes_into_psql(database: Any, durasql: Any, tmp_path: Path) -> None:
    file = tmp_path / "two.dsql"
    file.write_text(
        "SELECT df.setvar('who', 'Ada');\n"
        "SELECT df.start('SELECT ''{who}'' AS n', 'first');\n"
        "SELECT df.start('SELECT 2');\n"
    )
    done = durasql("run", "--dsn", database.owner_dsn, str(file))
    assert done.code == 0
    assert done.out.splitlines() == [
        '{"rows":[{"n":"Ada"}],"row_count":1}',
        '{"rows":[{"?column?":2}],"row_count":1}',
    ]


def test_an_unreadable_text_is_one_message(durasql: Any, tmp_path: Path) -> None:
    (tmp_path / "latin1.dsql").write_bytes(b"'SELECT \xe9'")
    assert durasql("run", str(tmp_path / "latin1.dsql")).code == 2
    assert durasql("run", str(tmp_path / "missing.dsql")).code == 2
    assert durasql("run", str(tmp_path)).code == 2


@pytest.mark.parametrize(
    "text",
    ["'SELECT 1", "'a\0b'", "", "df.nope('x')", "df.sleep(1, 2)", "'" + "x" * 5_000_000 + "'"],
    ids=["unterminated", "nul", "empty", "unknown", "arguments", "5MB"],
)
def test_bad_texts_exit_with_2(text: str, durasql: Any, tmp_path: Path) -> None:
    file = tmp_path / "bad.dsql"
    file.write_text(text)
    done = durasql("run", str(file))
    assert done.code == 2
    assert done.err.count("error[") == 1


def test_start_prints_the_id_and_a_worker_executes_it(
    database: Any, durasql: Any, worker_process: Any
) -> None:
    role = database.role()
    started = durasql("start", "--dsn", database.dsn(role), "--label", "later", "-e", "'SELECT 7 AS n'")
    id = started.out.strip()
    worker_process(role)
    done = durasql("await", "--dsn", database.dsn(role), "--timeout", "30", id)
    assert (done.code, done.out) == (0, '{"rows":[{"n":7}],"row_count":1}\n')


def test_an_interrupted_run_goes_on_with_the_next_worker(database: Any, durasql: Any, process: Any) -> None:
    """P4: nothing is lost, and the step before the interruption is not repeated."""
    database.psql("CREATE TABLE seen (at timestamptz); CREATE TABLE go (n int)")
    text = "'INSERT INTO seen SELECT now()' ~> df.wait_for_signal('go') ~> 'SELECT count(*) AS n FROM seen'"
    running = process("run", "--dsn", database.owner_dsn, "-e", text)
    id = wait_for(database, "SELECT id FROM df.instances WHERE (SELECT count(*) FROM seen) = 1")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert "goes on with the next worker" in err
    durasql("signal", "--dsn", database.owner_dsn, id, "go")
    worker = process("worker", "--dsn", database.owner_dsn)
    try:
        assert durasql("await", "--dsn", database.owner_dsn, "--timeout", "30", id).out.startswith(
            '{"rows":[{"n":1}]'
        )
    finally:
        worker.terminate()
        worker.communicate()


def wait_for(database: Any, query: str) -> Any:
    """The first value of a query as soon as it has one; waits inside PostgreSQL."""
    with database.connect() as connection:
        while True:
            row = connection.execute(query).fetchone()
            if row is not None:
                return row[0]
            connection.execute("SELECT pg_sleep(0.02)")


def test_a_closed_pipe_is_no_error(database: Any, process: Any) -> None:
    running: subprocess.Popen[str] = process("list", "--dsn", database.owner_dsn)
    assert running.stdout
    running.stdout.close()
    assert running.wait() == 0
    assert running.stderr and running.stderr.read() == ""


def test_psycopg_errors_never_escape(database: Any, durasql: Any) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA df CASCADE")
    for command in (["list"], ["status", "00000000"], ["run", "-e", "'SELECT 1'"], ["prune"]):
        done = durasql(*command, "--dsn", database.owner_dsn)
        assert done.code == 5
        assert "no schema df" in done.err
