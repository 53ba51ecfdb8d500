"""The commands about instances, texts and the database: what they print, as text and as JSON."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durasql.cli.entry import _COMMANDS


@pytest.fixture
def finished(database: Any, durasql: Any) -> str:
    """The id of a completed instance labelled `done`."""
    arguments = ("--dsn", database.owner_dsn, "--label", "done", "--json")
    return str(durasql("run", *arguments, "-e", "'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b'").json["id"])


@pytest.fixture
def waiting(database: Any, durasql: Any) -> str:
    """The id of an instance that nobody has begun."""
    return str(durasql("start", "--dsn", database.owner_dsn, "-e", "df.wait_for_signal('go')").out.strip())


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_explains_itself(name: str, durasql: Any) -> None:
    done = durasql(name, "--help")
    assert done.code == 0
    assert f"Usage: durasql {name}" in done.out
    if "COMMAND [ARGS]" not in done.out:
        assert f"  durasql {name}" in done.out, "there is an example"


def test_help_and_version(durasql: Any) -> None:
    assert "Exit codes" in durasql("--help").out
    assert durasql("--version").out.startswith("durasql 0.")


def test_an_unknown_command_exits_with_2(durasql: Any) -> None:
    assert durasql("launch").code == 2


def test_list_as_table_and_json(database: Any, durasql: Any, finished: str, waiting: str) -> None:
    dsn = ("--dsn", database.owner_dsn)
    lines = durasql("list", *dsn).out.splitlines()
    assert lines[0].split() == ["id", "label", "status", "created", "output"]
    assert [line.split()[0] for line in lines[1:]] == [waiting, finished]
    shown = durasql("list", *dsn, "--status", "completed", "--json").json
    assert [(i["id"], i["label"]) for i in shown["instances"]] == [(finished, "done")]
    assert durasql("list", *dsn, "--label", "nobody", "--json").json == {"instances": [], "next_cursor": None}


def test_list_goes_on_at_a_cursor(database: Any, durasql: Any, finished: str, waiting: str) -> None:
    dsn = ("--dsn", database.owner_dsn)
    first = durasql("list", *dsn, "--limit", "1", "--json").json
    second = durasql("list", *dsn, "--limit", "1", "--after", first["next_cursor"], "--json").json
    assert [page["instances"][0]["id"] for page in (first, second)] == [waiting, finished]


def test_status_and_result(database: Any, durasql: Any, finished: str, waiting: str) -> None:
    dsn = ("--dsn", database.owner_dsn)
    assert "completed" in durasql("status", *dsn, finished).out
    assert durasql("status", *dsn, waiting, "--json").json["status"] == "pending"
    assert durasql("result", *dsn, finished).out == '{"rows":[{"b":2}],"row_count":1}\n'
    early = durasql("result", *dsn, waiting)
    assert (early.code, early.out) == (4, "")


def test_nodes(database: Any, durasql: Any, finished: str) -> None:
    shown = durasql("nodes", "--dsn", database.owner_dsn, finished, "--json").json
    assert [(n["type"], n["name"], n["status"]) for n in shown] == [
        ("THEN", None, "completed"),
        ("SQL", "x", "completed"),
        ("SQL", None, "completed"),
    ]


def test_explain_takes_a_text_or_an_instance(database: Any, durasql: Any, finished: str) -> None:
    dsn = ("--dsn", database.owner_dsn)
    text = durasql("explain", *dsn, "-e", "'SELECT 1' & df.sleep(3)").out
    assert text.splitlines()[0] == "JOIN (2)"
    live = durasql("explain", *dsn, finished).out
    assert "Completed" in live
    assert "SQL: SELECT 1 AS a |=> 'x' ✓" in live


def test_cancel_and_await(database: Any, durasql: Any, waiting: str) -> None:
    dsn = ("--dsn", database.owner_dsn)
    assert durasql("await", *dsn, waiting, "--timeout", "1").code == 4
    done = durasql("cancel", *dsn, waiting, "--reason", "why not", "--json")
    assert done.json == {"id": waiting, "status": "cancelled", "reason": "why not"}
    over = durasql("await", *dsn, waiting)
    assert over.code == 3
    assert "why not" in over.err


@pytest.mark.parametrize("command", ["status", "result", "nodes", "await", "cancel"])
def test_an_unknown_instance_exits_with_2(command: str, database: Any, durasql: Any) -> None:
    done = durasql(command, "--dsn", database.owner_dsn, "deadbeef")
    assert done.code == 2
    assert "not found" in done.err.lower()


def test_roles_do_not_see_each_others_instances(database: Any, durasql: Any, finished: str) -> None:
    """P6."""
    dsn = ("--dsn", database.dsn(database.role()))
    assert durasql("list", *dsn, "--json").json["instances"] == []
    assert durasql("status", *dsn, finished).code == 2


def test_db_install_status_uninstall(empty_database: str, durasql: Any) -> None:
    dsn = ("--dsn", empty_database)
    before = durasql("db", "status", *dsn)
    assert before.code == 1
    assert "not installed" in before.out
    assert durasql("db", "install", *dsn).code == 0
    shown = durasql("db", "status", *dsn, "--json").json
    assert shown["ok"] is True
    assert (shown["liveness"]["workers"], shown["liveness"]["overdue"]) == (0, 0)
    assert durasql("db", "uninstall", "--yes", *dsn).out == "schema df dropped\n"


def test_db_install_print_is_for_psql(durasql: Any) -> None:
    script = durasql("db", "install", "--print").out
    assert script.startswith("BEGIN;")
    assert "CREATE SCHEMA df" in script


def test_psql_gets_its_arguments(database: Any, durasql: Any) -> None:
    done = durasql("psql", "--dsn", database.owner_dsn, "-XAtc", "SELECT current_user")
    assert (done.code, done.out) == (0, database.owner + "\n")


def test_prune(database: Any, durasql: Any, finished: str) -> None:
    with database.connect() as connection:
        connection.execute("UPDATE df.settings SET value = '0' WHERE name = 'retention_days'")
    assert durasql("prune", "--dsn", database.owner_dsn, "--json").json["instances"] == 1


def test_the_dsn_comes_from_the_environment_too(
    database: Any, durasql: Any, monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    monkeypatch.setenv("DURASQL_DSN", database.owner_dsn)
    assert durasql("db", "status", "--json").json["from"] == "DURASQL_DSN"
    monkeypatch.delenv("DURASQL_DSN")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(cluster.port))
    monkeypatch.setenv("PGDATABASE", database.name)
    monkeypatch.setenv("PGUSER", database.owner)
    assert durasql("db", "status", "--json").json["from"] == "PGHOST, PGPORT, PGDATABASE, PGUSER"
    assert durasql("run", "-e", "'SELECT 1'").code == 0


def test_two_databases_are_one_too_many(durasql: Any, tmp_path: Path) -> None:
    assert durasql("list", "--dsn", "dbname=x", "--data-dir", str(tmp_path)).code == 2


@pytest.fixture
def data_dir() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="durasql-cli-")
    yield path
    shutil.rmtree(path)


def test_the_embedded_server_keeps_its_data_between_commands(durasql: Any, data_dir: str) -> None:
    embedded = ("--data-dir", data_dir)
    assert durasql("run", *embedded, "-e", "'CREATE TABLE t AS SELECT 5 AS n'").code == 0
    assert durasql("run", *embedded, "-e", "'SELECT n FROM t'").out == '{"rows":[{"n":5}],"row_count":1}\n'
    assert len(durasql("list", *embedded, "--json").json["instances"]) == 2


def test_compile_shows_four_forms(durasql: Any) -> None:
    text = ("-e", "'SELECT 1' |=> 'a' ~> df.sleep(3)")
    assert "exactly once" in durasql("compile", *text).out
    assert durasql("compile", *text, "--json").json["format"] == 1
    assert durasql("compile", *text, "--graph").json["node_type"] == "THEN"
    tree = durasql("compile", *text, "--ast").out.splitlines()
    assert tree[0] == "Then()"
    assert tree[2] == "  second: Sleep(seconds=3)"


def test_check_and_fmt(durasql: Any, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.dsql", tmp_path / "bad.dsql"
    good.write_text("'SELECT 1'|=>'a'   ~> 'SELECT $a'")
    bad.write_text("df.break()")
    assert durasql("check", str(good)).code == 0
    both = durasql("check", str(good), str(bad), "--json")
    assert both.code == 2
    assert {finding["code"] for finding in both.json if finding["severity"] == "error"} == {"E211"}
    assert durasql("fmt", "--check", str(good)).code == 1
    assert durasql("fmt", "-w", str(good)).code == 0
    assert good.read_text().strip() == "'SELECT 1' |=> 'a' ~> 'SELECT $a'"
    assert durasql("fmt", "--check", str(good)).code == 0
