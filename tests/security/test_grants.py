"""df.grant_usage, df.revoke_usage, df.grant_worker: who may give what to whom, and who may take it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import errors, sql

DENIED = errors.InsufficientPrivilege

ACL_ENTRIES = """
    SELECT e.object FROM (
        SELECT c.relname, c.relacl FROM pg_class c
        UNION ALL SELECT t.attname, t.attacl FROM pg_attribute t
        UNION ALL SELECT p.proname, p.proacl FROM pg_proc p
        UNION ALL SELECT n.nspname, n.nspacl FROM pg_namespace n
    ) AS e (object, acl), aclexplode(e.acl) AS a
    WHERE a.grantee = %s::regrole"""


def can_start(database: Any, role: str) -> bool:
    with database.connect(role) as connection:
        try:
            connection.execute("SELECT df.start('SELECT 1')")
        except DENIED:
            return False
        return True


def run(database: Any, role: str | None, query: str, *parameters: Any) -> list[str]:
    """Execute as a role; the notices it gave."""
    heard: list[str] = []
    with database.connect(role) as connection:
        connection.add_notice_handler(
            lambda notice: heard.append(f"{notice.severity}: {notice.message_primary}")
        )
        connection.execute(query, parameters)
    return heard


@contextmanager
def odd_role(database: Any, name: str) -> Iterator[str]:
    """A LOGIN role whose name needs quoting."""
    with database.connect("postgres") as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        try:
            yield name
        finally:
            superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


class TestGranting:
    def test_a_grant_opens_and_says_so(self, database: Any) -> None:
        role = database.role(grant=False)
        assert not can_start(database, role)
        assert run(database, None, "SELECT df.grant_usage(%s)", role) == [
            f'NOTICE: pg_durable: granted df usage privileges to "{role}"'
        ]
        assert can_start(database, role)

    def test_it_is_additive(self, database: Any) -> None:
        role = database.role(include_http=True)
        run(database, None, "SELECT df.grant_usage(%s)", role)
        run(database, role, "SELECT df.http('https://example.com')")

    @pytest.mark.parametrize(
        "name", ["Mixed Case", 'with "quotes"', "select", "läng-lich", "x'; DROP ROLE postgres; --"]
    )
    def test_role_names_that_need_quoting(self, database: Any, name: str) -> None:
        with odd_role(database, name):
            notice = run(database, None, "SELECT df.grant_usage(%s, true, true)", name)
            assert notice == [f'NOTICE: pg_durable: granted df usage privileges to "{name}"']
            with database.connect(name) as connection:
                connection.execute("SELECT df.setvar('who', 'me')")
                connection.execute("SELECT df.start('SELECT 1', 'mine')")
                found = connection.execute(
                    "SELECT i.label, r.rolname, (SELECT count(*) FROM df.nodes), df.getvar('who')"
                    " FROM df.instances i JOIN pg_roles r ON r.oid = i.submitted_by"
                ).fetchall()
            assert found == [("mine", name, 1, "me")]
            run(database, None, "SELECT df.revoke_usage(%s)", name)
            assert not can_start(database, name)

    def test_an_unknown_role_gets_the_error_of_grant(self, database: Any) -> None:
        with pytest.raises(errors.UndefinedObject, match='role "nobody_here" does not exist'):
            run(database, None, "SELECT df.grant_usage('nobody_here')")

    def test_null_is_no_role(self, database: Any) -> None:
        for function in ("grant_usage", "revoke_usage", "revoke_worker"):
            with pytest.raises(errors.NullValueNotAllowed):
                run(database, None, f"SELECT df.{function}(NULL)")

    def test_lower_case_public_is_everybody(self, database: Any) -> None:
        role = database.role(grant=False)
        run(database, None, "SELECT df.grant_usage('public')")
        assert can_start(database, role)
        run(database, None, "SELECT df.revoke_usage('public')")
        assert not can_start(database, role)

    def test_upper_case_public_is_a_role_name(self, database: Any) -> None:
        for function in ("grant_usage", "revoke_usage"):
            with pytest.raises(errors.UndefinedObject, match='role "PUBLIC" does not exist'):
                run(database, None, f"SELECT df.{function}('PUBLIC')")


class TestRevoking:
    def test_it_takes_everything_away_and_says_so(self, database: Any) -> None:
        role = database.role(include_http=True, with_grant=True)
        assert run(database, None, "SELECT df.revoke_usage(%s)", role) == [
            f'NOTICE: pg_durable: revoked df usage privileges granted by "{database.owner}" from "{role}"'
        ]
        with database.connect() as owner:
            left = owner.execute(ACL_ENTRIES, (role,)).fetchall()
        assert left == []

    def test_an_ungranted_role_can_be_revoked(self, database: Any) -> None:
        run(database, None, "SELECT df.revoke_usage(%s)", database.role(grant=False))

    def test_what_the_role_granted_goes_too(self, database: Any) -> None:
        admin, user = database.role(with_grant=True), database.role(grant=False)
        run(database, admin, "SELECT df.grant_usage(%s)", user)
        run(database, None, "SELECT df.revoke_usage(%s)", admin)
        assert not can_start(database, user)


class TestDelegation:
    def test_ordinary_roles_may_not_grant(self, database: Any) -> None:
        role, other = database.role(), database.role(grant=False)
        for function in ("grant_usage", "revoke_usage", "grant_worker", "revoke_worker"):
            with pytest.raises(DENIED, match=f"permission denied for function {function}"):
                run(database, role, f"SELECT df.{function}(%s)", other)

    def test_execute_on_the_helper_alone_grants_nothing(self, database: Any) -> None:
        """GRANT without grant option would only warn; the helper must not report a success that is none."""
        role, other = database.role(), database.role(grant=False)
        run(database, None, sql.SQL("GRANT EXECUTE ON FUNCTION df.grant_usage, df.revoke_usage TO {}").format(
            sql.Identifier(role)))  # fmt: skip
        for function in ("grant_usage", "revoke_usage"):
            with pytest.raises(DENIED, match="permission denied for schema df"):
                run(database, role, f"SELECT df.{function}(%s)", other)
        assert not can_start(database, other)

    def test_an_admin_uses_grants_and_revokes(self, database: Any) -> None:
        admin, user = database.role(with_grant=True), database.role(grant=False)
        assert can_start(database, admin)
        run(database, admin, "SELECT * FROM df.metrics()")
        run(database, admin, "SELECT df.grant_usage(%s)", user)
        assert can_start(database, user)
        run(database, admin, "SELECT df.revoke_usage(%s)", user)
        assert not can_start(database, user)

    def test_admins_make_admins(self, database: Any) -> None:
        first, second, user = (
            database.role(with_grant=True),
            database.role(grant=False),
            database.role(grant=False),
        )
        run(database, first, "SELECT df.grant_usage(%s, with_grant => true)", second)
        run(database, second, "SELECT df.grant_usage(%s)", user)
        assert can_start(database, user)

    def test_with_grant_does_not_imply_http(self, database: Any) -> None:
        admin, user = database.role(with_grant=True), database.role(grant=False)
        with pytest.raises(DENIED, match=r"df\.http"):
            run(database, admin, "SELECT df.grant_usage(%s, include_http => true)", user)
        assert not can_start(database, user), "nothing is half granted"
        with pytest.raises(DENIED):
            run(database, admin, "SELECT df.http('https://example.com')")

    def test_http_without_its_grant_option_cannot_be_passed_on(self, database: Any) -> None:
        admin, user = database.role(with_grant=True), database.role(grant=False)
        run(database, None, "SELECT df.grant_usage(%s, include_http => true)", admin)
        with pytest.raises(DENIED, match=r"df\.http"):
            run(database, admin, "SELECT df.grant_usage(%s, include_http => true)", user)
        assert not can_start(database, user)

    def test_both_options_give_http_with_grant_option(self, database: Any) -> None:
        admin, user = database.role(include_http=True, with_grant=True), database.role(grant=False)
        run(database, admin, "SELECT df.grant_usage(%s, include_http => true)", user)
        run(database, user, "SELECT df.http('https://example.com')")

    def test_revoking_oneself_is_harmless(self, database: Any) -> None:
        admin = database.role(with_grant=True)
        run(database, admin, "SELECT df.revoke_usage(%s)", admin)
        assert can_start(database, admin)

    def test_an_admin_takes_back_only_its_own_grants(self, database: Any) -> None:
        admin, other, user = database.role(with_grant=True), database.role(with_grant=True), database.role()
        run(database, other, "SELECT df.grant_usage(%s)", user)
        run(database, admin, "SELECT df.revoke_usage(%s)", user)
        assert can_start(database, user)
        run(database, None, "SELECT df.revoke_usage(%s)", user)
        assert can_start(database, user), "the other admin's grant is still there"
        run(database, other, "SELECT df.revoke_usage(%s)", user)
        assert not can_start(database, user)

    def test_a_superuser_acts_as_the_owner(self, database: Any) -> None:
        user = database.role(grant=False)
        run(database, "postgres", "SELECT df.grant_usage(%s)", user)
        run(database, None, "SELECT df.revoke_usage(%s)", user)
        assert not can_start(database, user)

    def test_metrics_need_their_own_privilege(self, database: Any) -> None:
        role = database.role()
        with pytest.raises(DENIED, match="permission denied for function metrics"):
            run(database, role, "SELECT * FROM df.metrics()")
        run(
            database,
            None,
            sql.SQL("GRANT EXECUTE ON FUNCTION df.metrics() TO {}").format(sql.Identifier(role)),
        )
        run(database, role, "SELECT * FROM df.metrics()")


class TestWorkers:
    def serves_all(self, database: Any, role: str) -> bool:
        with database.connect() as owner:
            found = owner.execute("SELECT has_function_privilege(%s, 'df._serve_all()', 'EXECUTE')", (role,))
            return bool(found.fetchone()[0])

    def test_serving_every_role_is_granted_and_taken_back(self, database: Any) -> None:
        role = database.role(grant=False)
        assert run(database, None, "SELECT df.grant_worker(%s)", role) == [
            f'NOTICE: durasql: workers of "{role}" may serve every role'
        ]
        assert self.serves_all(database, role)
        run(database, None, "SELECT df.revoke_worker(%s)", role)
        assert not self.serves_all(database, role)

    def test_it_is_not_delegated(self, database: Any) -> None:
        admin = database.role(with_grant=True, include_http=True)
        with pytest.raises(DENIED, match="permission denied for function grant_worker"):
            run(database, admin, "SELECT df.grant_worker(%s)", admin)

    @pytest.mark.parametrize("nobody", ["'public'", "NULL"])
    def test_it_is_never_for_everybody(self, database: Any, nobody: str) -> None:
        with pytest.raises(errors.InvalidParameterValue, match="needs the name of one role"):
            run(database, None, f"SELECT df.grant_worker({nobody})")
