"""Whose instance it is: the effective role at the moment of df.start, who must be able to log in (P6)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors


def submitted_by(database: Any, id: str) -> str:
    with database.connect() as owner:
        found = owner.execute("SELECT submitted_by::text FROM df.instances WHERE id = %s", (id,)).fetchone()
    return str(found[0])


def start(connection: psycopg.Connection[Any], fut: str = "SELECT 1") -> str:
    return str(connection.execute("SELECT df.start(%s)", (fut,)).fetchone()[0])  # type: ignore[index]


def test_set_role_counts(database: Any) -> None:
    person, group = database.role("person"), database.role("team")
    database.cluster.execute(f"GRANT {group} TO {person}")
    with database.connect(person) as connection:
        connection.execute(f"SET ROLE {group}")
        id = start(connection)
        connection.execute("RESET ROLE")
        assert connection.execute("SELECT df.status(%s)", (id,)).fetchone() == (None,)
    assert submitted_by(database, id) == group


def test_a_role_without_login_is_refused(database: Any) -> None:
    person, group = database.role("person"), database.role("team", "NOLOGIN")
    database.cluster.execute(f"GRANT {group} TO {person}")
    with database.connect(person) as connection:
        connection.execute(f"SET ROLE {group}")
        with pytest.raises(errors.InvalidAuthorizationSpecification) as refused:
            start(connection)
    assert refused.value.diag.message_primary == (
        f'current_user "{group}" does not have LOGIN privilege. The background worker must connect as'
        " this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN."
    )
    assert "LOGIN" in str(refused.value.diag.message_hint)


class TestSuperusers:
    def test_they_are_refused_unless_the_owner_allows_it(self, database: Any) -> None:
        with database.connect("postgres") as superuser, database.connect() as owner:
            with pytest.raises(errors.InsufficientPrivilege) as refused:
                start(superuser)
            assert refused.value.diag.message_primary == (
                'pg_durable: superuser instances are disabled. current_user "postgres" is a superuser,'
                " but pg_durable.enable_superuser_instances is off."
                " Set pg_durable.enable_superuser_instances = on to allow this."
            )
            owner.execute("UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'")
            assert submitted_by(database, start(superuser)) == "postgres"

    def test_a_session_setting_does_not_count(self, database: Any) -> None:
        with database.connect("postgres") as superuser:
            superuser.execute("SET pg_durable.enable_superuser_instances = on")
            with pytest.raises(errors.InsufficientPrivilege):
                start(superuser)


def test_a_security_definer_wrapper_starts_as_its_owner(database: Any) -> None:
    author, caller = database.role("author"), database.role("caller")
    database.cluster.execute(f"GRANT CREATE ON SCHEMA public TO {author}", database.name)
    with database.connect(author) as connection:
        connection.execute(
            "CREATE FUNCTION public.launch() RETURNS text LANGUAGE sql SECURITY DEFINER"
            " AS $$ SELECT df.start('SELECT 1') $$"
        )
    with database.connect(caller) as connection:
        id = connection.execute("SELECT public.launch()").fetchone()[0]
        assert connection.execute("SELECT df.status(%s)", (id,)).fetchone() == (None,)
    assert submitted_by(database, id) == author
    database.cluster.execute("DROP FUNCTION public.launch()", database.name)
    database.cluster.execute(f"REVOKE CREATE ON SCHEMA public FROM {author}", database.name)


def test_only_the_starters_variables_are_taken_along(database: Any) -> None:
    one, other = database.role(), database.role()
    for role in (one, other):
        with database.connect(role) as connection:
            connection.execute("SELECT df.setvar('mine', %s)", (role,))
    with database.connect(one) as connection:
        id = start(connection)
    with database.connect() as owner:
        found = owner.execute("SELECT vars FROM df.instances WHERE id = %s", (id,)).fetchone()
    assert found == ({"mine": one},)


def test_equal_programs_of_two_roles_are_two_programs(database: Any) -> None:
    """A role never learns from a hash that somebody else runs the same text."""
    one, other = database.role(), database.role()
    for role in (one, other):
        with database.connect(role) as connection:
            start(connection, "SELECT 'the same'")
            assert connection.execute("SELECT count(*) FROM df.programs").fetchone() == (1,)
    with database.connect() as owner:
        assert owner.execute("SELECT count(*), count(DISTINCT hash) FROM df.programs").fetchone() == (2, 1)
