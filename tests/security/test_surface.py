"""What an ordinary granted role can reach in schema df, as a golden file.

A function, table or column that becomes reachable shows here as a difference and cannot slip in unseen.
Accept an intended one with: pytest tests/security/test_surface.py --snapshot-update
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors
from syrupy.assertion import SnapshotAssertion

FUNCTIONS = """
    SELECT p.oid::regprocedure::text
           || CASE WHEN p.prosecdef THEN '  [as owner]' ELSE '' END
    FROM pg_proc p WHERE p.pronamespace = 'df'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY 1"""

TABLES = """
    SELECT c.oid::regclass || ': ' || string_agg(p.privilege, ', ' ORDER BY p.privilege)
    FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER}'::text[]) AS p (privilege)
    WHERE c.relnamespace = 'df'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm', 'f')
      AND has_table_privilege(c.oid, p.privilege)
    GROUP BY c.oid ORDER BY 1"""

COLUMNS = """
    SELECT c.oid::regclass || ' ' || p.privilege || ': ' || string_agg(a.attname, ', ' ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (privilege)
    WHERE c.relnamespace = 'df'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm', 'f')
      AND has_column_privilege(c.oid, a.attnum, p.privilege) AND NOT has_table_privilege(c.oid, p.privilege)
    GROUP BY c.oid, p.privilege ORDER BY 1"""

SEQUENCES = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = 'df'::regnamespace
      AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE') END"""


def reachable(connection: Any) -> dict[str, list[str]]:
    """Everything in df that the connected role has a privilege for."""
    parts = {"functions": FUNCTIONS, "tables": TABLES, "columns": COLUMNS, "sequences": SEQUENCES}
    return {part: [name for (name,) in connection.execute(query)] for part, query in parts.items()}


def test_what_an_ordinary_role_reaches(database: Any, snapshot: SnapshotAssertion) -> None:
    with database.connect(database.role()) as connection:
        found = reachable(connection)
    assert "\n".join(f"{part}\n  " + "\n  ".join(names) for part, names in found.items()) == snapshot


def test_what_http_adds(database: Any, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(added(database, include_http=True)) == snapshot


def test_what_delegated_administration_adds(database: Any, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(added(database, with_grant=True)) == snapshot


def test_what_serving_every_role_adds(database: Any, snapshot: SnapshotAssertion) -> None:
    worker = database.role(grant=False)
    with database.connect() as owner, database.connect(worker) as connection:
        before = flat(reachable(connection))
        owner.execute("SELECT df.grant_worker(%s)", (worker,))
        assert "\n".join(sorted(flat(reachable(connection)) - before)) == snapshot


def added(database: Any, **options: Any) -> list[str]:
    """What an option of df.grant_usage gives beyond the plain grant."""
    with database.connect(database.role()) as plain, database.connect(database.role(**options)) as more:
        return sorted(flat(reachable(more)) - flat(reachable(plain)))


def flat(found: dict[str, list[str]]) -> set[str]:
    return {name for names in found.values() for name in names}


def test_an_ungranted_role_reaches_nothing(database: Any) -> None:
    with database.connect(database.role(grant=False)) as connection:
        found = reachable(connection)
        assert (found["tables"], found["columns"], found["sequences"]) == ([], [], [])
        assert not connection.execute("SELECT has_schema_privilege('df', 'USAGE')").fetchone()[0]
        for call in (
            "df.version()",
            "df.sql('x')",
            "df.start('SELECT 1')",
            "df._node_id(1)",
            "df.setting('x')",
        ):
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema df"):
                connection.execute(f"SELECT {call}")


def test_nothing_is_granted_to_public(database: Any) -> None:
    query = """
        SELECT 'schema', n.nspname::text, a.privilege_type
        FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'df' AND a.grantee = 0
        UNION ALL
        SELECT 'table', c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT 'column', c.relname || '.' || t.attname, a.privilege_type
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
        WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = 0"""
    with database.connect() as owner:
        assert owner.execute(query).fetchall() == []


def test_sensitive_functions_are_not_for_public(database: Any) -> None:
    sensitive = [
        "http(text,text,text,jsonb,integer)",
        "http_multipart(text,text,jsonb,jsonb,integer)",
        "metrics()",
        "grant_usage(text,boolean,boolean)",
        "revoke_usage(text)",
        "grant_worker(text)",
        "revoke_worker(text)",
        "_serve_all()",
    ]
    with database.connect(database.role()) as connection:
        for name in sensitive:
            allowed = connection.execute("SELECT has_function_privilege(%s, 'EXECUTE')", (f"df.{name}",))
            assert allowed.fetchone() == (False,), name


def test_functions_that_must_not_exist(database: Any) -> None:
    with database.connect() as owner:
        for name in ("debug_connection", "ensure_durofut"):
            assert owner.execute("SELECT to_regproc(%s)", (f"df.{name}",)).fetchone() == (None,)


def test_functions_that_run_as_the_owner_pin_their_search_path(database: Any) -> None:
    query = """
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'df'::regnamespace AND prosecdef
          AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))"""
    with database.connect() as owner:
        assert owner.execute(query).fetchall() == []


def test_trigger_functions_cannot_be_hung_on_a_table_of_ones_own(database: Any) -> None:
    query = """
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'df'::regnamespace AND prorettype = 'trigger'::regtype
          AND has_function_privilege(%s, oid, 'EXECUTE')"""
    with database.connect() as owner:
        assert owner.execute(query, (database.role(),)).fetchall() == []


def test_every_table_has_row_level_security(database: Any) -> None:
    query = """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'df'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity"""
    with database.connect() as owner:
        assert owner.execute(query).fetchall() == []


def test_every_view_is_a_barrier_or_asks_as_its_user(database: Any) -> None:
    """A view that runs as its owner needs a barrier: a caller's function could see rows before the filter."""
    query = """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'df'::regnamespace AND c.relkind = 'v'
          AND NOT coalesce(c.reloptions && '{security_barrier=true,security_invoker=true}', false)
          AND has_table_privilege(%s, c.oid, 'SELECT')"""
    with database.connect() as owner:
        open_views = [name for (name,) in owner.execute(query, (database.role(),))]
        # Where views cannot ask as their user, df.nodes only reads the barrier df._nodes.
        assert open_views == ([] if owner.info.server_version >= 150000 else ["nodes"])


def test_everything_has_a_comment(database: Any) -> None:
    query = """
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'df'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'df'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'migrations'
          AND obj_description(oid, 'pg_class') IS NULL"""
    with database.connect() as owner:
        assert owner.execute(query).fetchall() == []


def test_everything_belongs_to_the_owner(database: Any) -> None:
    query = """
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'df'::regnamespace AND proowner <> current_user::regrole"""
    with database.connect() as owner:
        assert owner.execute(query).fetchall() == []
        assert owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
            False,
        )
