"""`durasql check` as a command: its forms of output, --dsn, --role and --verbose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durasql.cli import entry


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str]:
        code = entry.run(["check", *arguments])
        out, err = capfd.readouterr()
        return code, out + err

    return run


def test_p8_a_missing_column_is_marked_inside_the_string(check: Any, database: Any, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE orders (id bigint)")
    file = tmp_path / "a.dsql"
    file.write_text("'SELECT id FROM orders' |=> 'o'\n~> 'SELECT idd FROM orders WHERE id = $o'\n")
    assert check(str(file))[0] == 0
    code, shown = check("--dsn", database.owner_dsn, str(file))
    assert code == 2
    assert "2 | ~> 'SELECT idd FROM orders" in shown
    assert "\n  |            ^^^\n" in shown
    assert 'error[E241]: column "idd" does not exist' in shown


def test_a_role_needs_a_dsn(check: Any) -> None:
    code, shown = check("--role", "x", "-e", "'SELECT 1'")
    assert code == 2 and "--role needs --dsn" in shown


def test_an_unreachable_server_is_no_finding(check: Any) -> None:
    code, shown = check("--dsn", "host=/nowhere", "-e", "'SELECT 1'")
    assert code == 5 and "cannot reach" in shown


def test_l13_verbose_shows_the_next_times_of_schedules(check: Any) -> None:
    text = "df.wait_for_schedule('0 6 * * mon-fri', timezone => 'Europe/Berlin')"
    assert "I205" not in check("-e", text)[1]
    code, shown = check("-v", "-e", text)
    assert code == 0
    assert "I205" in shown and shown.count(":00") == 3
    assert f"\n  |                       {'^' * 15}\n" in shown


def test_sarif(check: Any) -> None:
    code, shown = check("--format", "sarif", "-e", "'SELEC'")
    assert code == 2 and '"ruleId": "E213"' in shown


def test_fmt_shows_what_it_would_change(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.dsql"
    file.write_text("'SELECT 1'   ~> 'SELECT 2'")
    assert entry.run(["fmt", "--diff", str(file)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"--- {file}"
    assert lines[-3:] == [
        "-'SELECT 1'   ~> 'SELECT 2'",
        "\\ No newline at end of file",
        "+'SELECT 1' ~> 'SELECT 2'",
    ]
    assert entry.run(["fmt", "-w", str(file)]) == 0
    assert entry.run(["fmt", "--diff", str(file)]) == 0
    assert capfd.readouterr().out == ""
