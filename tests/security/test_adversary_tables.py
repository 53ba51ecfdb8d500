"""No role can lock a table that everybody needs (P6): LOCK comes with INSERT, UPDATE or DELETE on a table."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

TABLES = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'df'::regnamespace AND relkind IN ('r', 'v', 'p') ORDER BY 1"""


@pytest.mark.parametrize("options", [{}, {"include_http": True, "with_grant": True}])
def test_no_table_can_be_locked_against_others(database: Any, options: dict[str, bool]) -> None:
    if options:
        with database.connect() as owner:
            role = database.role(grant=False)
            owner.execute("SELECT df.grant_usage(%s, true, true)", (role,))
    else:
        role = database.role()
    with database.connect(role, autocommit=False) as connection:
        for (table,) in connection.execute(TABLES).fetchall():
            for mode in ("ROW EXCLUSIVE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"):
                with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(f"LOCK TABLE {table} IN {mode} MODE")


def test_variables_and_secrets_are_still_removed(database: Any) -> None:
    role = database.role(include_http=True)
    with database.connect(role) as connection:
        connection.execute("SELECT df.setvar('a', '1'), df.setvar('b', '2'), df.setvar('c', '3')")
        connection.execute("SELECT df.unsetvar('a')")
        assert connection.execute("SELECT name FROM df.vars ORDER BY 1").fetchall() == [("b",), ("c",)]
        connection.execute("UPDATE df.vars SET value = NULL WHERE name = 'b'")
        assert connection.execute("SELECT name FROM df.vars").fetchall() == [("c",)]
        connection.execute("SELECT df.clearvars()")
        assert connection.execute("SELECT count(*) FROM df.vars").fetchone() == (0,)
        connection.execute("SELECT df.put_secret('s', 'dq1:0123abcd:' || repeat('B', 40))")
        assert connection.execute("SELECT df.remove_secret('s'), df.remove_secret('t')").fetchone() == (
            True,
            False,
        )
        assert connection.execute("SELECT count(*) FROM df.list_secrets()").fetchone() == (0,)
