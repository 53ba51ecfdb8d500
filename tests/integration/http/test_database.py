"""Policy, privileges and secrets in the database: who may do what, and what a worker learns (S3, S6)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.http import DatabasePolicy, DatabaseSecrets, HttpCall, HttpPerformer
from durasql_runtime.policy import HttpLimits, PolicyError
from durasql_runtime.secrets import SecretError, keys_from_environment, new_key, seal

KEYS = keys_from_environment({"DURASQL_SECRET_KEY": new_key()})


def rules(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT rule, effect, host, private FROM df.http_policy_list()").fetchall()


@pytest.fixture
def owner(database):
    with database.connect() as connection:
        yield connection


@pytest.fixture
async def session(database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A worker's login that may serve every role."""
    worker = database.role("w", grant=False)
    with database.connect() as connection:
        connection.execute("SELECT df.grant_worker(%s)", (worker,))
    async with await psycopg.AsyncConnection.connect(database.dsn(worker), autocommit=True) as opened:
        yield opened


def source(session) -> DatabasePolicy:
    async def connect():
        return session

    return DatabasePolicy(connect)


def test_rules_have_an_order_that_can_be_chosen(owner):
    numbers = [
        owner.execute("SELECT df.http_allow('api.example.com')").fetchone()[0],
        owner.execute("SELECT df.http_deny('*')").fetchone()[0],
        owner.execute(
            "SELECT df.http_allow('10.0.0.0/8', scheme => 'HTTPS', port => 443, before => 2)"
        ).fetchone()[0],
        owner.execute("SELECT df.http_allow('localhost', before => 1, note => 'dev')").fetchone()[0],
        owner.execute("SELECT df.http_deny('x.example', before => 99)").fetchone()[0],
    ]
    assert numbers == [1, 2, 2, 1, 5]
    assert rules(owner) == [
        (1, "allow", "localhost", True),
        (2, "allow", "api.example.com", False),
        (3, "allow", "10.0.0.0/8", False),
        (4, "deny", "*", False),
        (5, "deny", "x.example", False),
    ]
    assert owner.execute("SELECT df.http_remove(3), df.http_remove(3)").fetchone() == (True, False)
    assert [row[0] for row in rules(owner)] == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("host", "stored"),
    [
        ("API.Example.COM", "api.example.com"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("[::1]", "::1/128"),
        ("fd00::/8", "fd00::/8"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
    ],
)
def test_hosts_are_stored_in_one_form(owner, host, stored):
    owner.execute("SELECT df.http_allow(%s)", (host,))
    assert rules(owner)[0][2] == stored


@pytest.mark.parametrize(
    "host", ["", None, "http://x", "x/y", "x:80", "a b", "10.0.0.300", "10.0.0.0/99", "bücher.de", "x."]
)
def test_a_host_that_is_none_is_refused(owner, host):
    with pytest.raises(errors.InvalidParameterValue):
        owner.execute("SELECT df.http_allow(%s)", (host,))


@pytest.mark.parametrize(
    "arguments", ["scheme => 'ftp'", "port => 0", "port => 70000", "role => 'no such role'"]
)
def test_other_nonsense_is_refused(owner, arguments):
    with pytest.raises((errors.CheckViolation, errors.UndefinedObject)):
        owner.execute(f"SELECT df.http_allow('x', {arguments})")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT df.http_allow('*')",
        "SELECT df.http_deny('*')",
        "SELECT df.http_remove(1)",
        "SELECT * FROM df.http_policy_list()",
        "SELECT df._http_rule('allow', '*', NULL, NULL, NULL, true, NULL, NULL)",
        "SELECT df._http_rules_of('{owner}'::regrole)",
        "INSERT INTO df.http_policy (rule, effect, host) VALUES (1, 'allow', '*')",
        "SELECT * FROM df._http_standing('{owner}', 'HTTP', '')",
        "SELECT * FROM df._secrets_of('{owner}', '{{a}}')",
        "INSERT INTO df.secrets (owner, name, ciphertext) VALUES ('{owner}', 'a', 'b')",
        "SELECT df.put_secret('a', 'dq1:00000000:' || repeat('A', 40), '{owner}')",
        "UPDATE df.secrets SET owner = current_user::regrole",
    ],
)
def test_an_ordinary_role_changes_no_policy_and_learns_nothing_of_others(database, owner, statement):
    owner.execute("SELECT df.http_allow('secret-host.example')")
    role = keeper(database)
    with database.connect(role) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.format(owner=database.owner))


def test_a_role_that_may_read_the_policy_sees_what_concerns_it(database, owner):
    alice, bob = database.role(), database.role()
    owner.execute("SELECT df.http_allow('all.example'), df.http_allow('bob.example', role => %s)", (bob,))
    owner.execute(sql.SQL("GRANT SELECT ON df.http_policy TO {}").format(sql.Identifier(alice)))
    with database.connect(alice) as connection:
        assert [row[2] for row in rules(connection)] == ["all.example"]


async def test_a_change_of_policy_holds_from_the_next_request_on(database, owner, session):
    role = database.role(include_http=True)
    policy = source(session)
    first = await policy.standing(role, "HTTP")
    assert first.may_execute and first.rules.rules == ()
    owner.execute("SELECT df.http_allow('a.example', private => true), df.http_deny('*')")
    second = await policy.standing(role, "HTTP")
    assert [(rule.host, rule.allow, rule.private) for rule in second.rules.rules] == [
        ("a.example", True, True),
        ("*", False, False),
    ]
    assert second.rules.digest != first.rules.digest
    assert (await policy.standing(role, "HTTP")).rules is second.rules


async def test_settings_hold_from_the_next_request_on(database, owner, session):
    role = database.role(include_http=True)
    owner.execute("UPDATE df.settings SET value = '7' WHERE name = 'http_max_timeout'")
    owner.execute("UPDATE df.settings SET value = 'on' WHERE name = 'http_use_proxy'")
    standing = await source(session).standing(role, "HTTP")
    assert standing.limits == HttpLimits(16777216, 16777216, 7, True)
    assert len(standing.installation) == 36


async def test_rules_of_a_role_hold_for_it_and_for_its_members(database, owner, session):
    group, member, other = database.role("g", "NOLOGIN"), database.role(), database.role()
    database.cluster.execute(f"GRANT {group} TO {member}", database.name)
    owner.execute("SELECT df.http_deny('*', role => %s)", (group,))
    policy = source(session)
    assert len((await policy.standing(member, "HTTP")).rules.rules) == 1
    assert len((await policy.standing(other, "HTTP")).rules.rules) == 0
    assert len((await policy.standing("postgres", "HTTP")).rules.rules) == 0


async def test_the_privilege_is_read_anew_for_every_request(database, owner, session):
    role = database.role()
    policy = source(session)
    assert not (await policy.standing(role, "HTTP")).may_execute
    owner.execute(f"GRANT EXECUTE ON FUNCTION df.http(text,text,text,jsonb,integer) TO {role}")
    assert (await policy.standing(role, "HTTP")).may_execute
    assert not (await policy.standing(role, "HTTP_MULTIPART")).may_execute
    owner.execute(f"REVOKE EXECUTE ON FUNCTION df.http(text,text,text,jsonb,integer) FROM {role}")
    assert not (await policy.standing(role, "HTTP")).may_execute
    assert (await policy.standing("postgres", "HTTP")).may_execute, "superusers always pass"


async def test_roles_whose_names_need_quoting(database, owner, session, site):
    """S6: the lookup goes by OID, and the message names the role so that it can be pasted."""
    name = f'We"ird Rolé; {database.name}'
    database.cluster.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)), database.name)
    try:
        database.grant_usage(name, include_http=False)
        performer = HttpPerformer(source(session), DatabaseSecrets(lambda: None, KEYS))  # type: ignore[arg-type]
        config = json.dumps({"url": site.url(), "method": "GET"})
        call = HttpCall("HTTP", config, name, "0123abcd", 1, "", str, str)
        refused = await performer.perform(call)
        assert isinstance(refused, Failed)
        assert f'''TO "{name.replace('"', '""')}" to allow HTTP requests.''' in refused.message
        database.grant_usage(name, include_http=True)
        owner.execute("SELECT df.http_allow('127.0.0.1', role => %s)", (name,))
        assert isinstance(await performer.perform(call), Done)
        await performer.aclose()
    finally:
        with database.connect() as connection:
            connection.execute("SELECT df.revoke_usage(%s)", (name,))
            connection.execute("TRUNCATE df.http_policy")
        database.cluster.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)), database.name)


async def test_a_role_that_is_gone_fails_the_check(session):
    with pytest.raises(PolicyError, match='role "nobody-here" does not exist'):
        await source(session).standing("nobody-here", "HTTP")


async def test_a_worker_without_the_right_serves_its_own_role_only(database):
    alice, bob = database.role(include_http=True), database.role(include_http=True)
    async with await psycopg.AsyncConnection.connect(database.dsn(alice), autocommit=True) as session:
        assert (await source(session).standing(alice, "HTTP")).may_execute
        with pytest.raises(PolicyError, match="not allowed to serve role"):
            await source(session).standing(bob, "HTTP")


# --- secrets ---


def keeper(database, prefix: str = "u") -> str:
    """A role that may keep secrets of its own."""
    role: str = database.role(prefix, include_http=True)
    with database.connect() as connection:
        connection.execute(
            "GRANT SELECT, INSERT (name, ciphertext), UPDATE (ciphertext, updated_at), DELETE"
            f" ON df.secrets TO {role}"
        )
    return role


def test_secrets_are_set_listed_and_removed_by_their_role(database, owner):
    alice, bob = keeper(database), keeper(database)
    with database.connect(alice) as connection:
        for _ in range(2):
            connection.execute("SELECT df.put_secret('api', %s)", (seal("value", alice, "api", KEYS),))
        listed = connection.execute("SELECT role, name, key_id FROM df.list_secrets()").fetchall()
        assert listed == [(alice, "api", KEYS[0].id)]
    with database.connect(bob) as connection:
        assert connection.execute("SELECT * FROM df.list_secrets()").fetchall() == []
        assert connection.execute("SELECT df.remove_secret('api')").fetchone() == (False,)
    owner.execute("SELECT df.put_secret('b', %s, %s)", (seal("value", bob, "b", KEYS), bob))
    assert owner.execute("SELECT count(*) FROM df.list_secrets()").fetchone() == (2,)
    assert owner.execute("SELECT df.remove_secret('b', %s)", (bob,)).fetchone() == (True,)
    with database.connect(alice) as connection:
        assert connection.execute("SELECT df.remove_secret('api')").fetchone() == (True,)


@pytest.mark.parametrize("name", ["", "a b", "1a", "a}", "a" * 201])
def test_names_of_secrets_are_checked(database, name):
    role = keeper(database)
    with database.connect(role) as connection, pytest.raises(errors.CheckViolation):
        connection.execute("SELECT df.put_secret(%s, %s)", (name, seal("v", role, name, KEYS)))


def test_a_value_in_the_clear_cannot_be_stored(database):
    with (
        database.connect(keeper(database)) as connection,
        pytest.raises(errors.CheckViolation),
    ):
        connection.execute("SELECT df.put_secret('api', 'sk-1234567890123456789012345678901234567890')")


async def test_workers_open_secrets_of_the_roles_they_serve(database, session):
    role = keeper(database)
    with database.connect(role) as connection:
        connection.execute("SELECT df.put_secret('api', %s)", (seal("value", role, "api", KEYS),))
        connection.execute("SELECT df.put_secret('stolen', %s)", (seal("x", "another role", "api", KEYS),))

    async def connect():
        return session

    assert await DatabaseSecrets(connect, KEYS).reveal(role, frozenset({"api"})) == {"api": "value"}
    with pytest.raises(SecretError, match="'nope' of role"):
        await DatabaseSecrets(connect, KEYS).reveal(role, frozenset({"api", "nope"}))
    with pytest.raises(SecretError, match="was not sealed for role"):
        await DatabaseSecrets(connect, KEYS).reveal(role, frozenset({"stolen"}))
    with pytest.raises(SecretError, match="this worker has no DURASQL_SECRET_KEY"):
        await DatabaseSecrets(connect, ()).reveal(role, frozenset({"api"}))


def test_a_dump_does_not_reveal_secrets(database):
    role = keeper(database)
    with database.connect(role) as connection:
        connection.execute("SELECT df.put_secret('api', %s)", (seal("the-value-itself", role, "api", KEYS),))
    with database.connect() as connection:
        rows = connection.execute("SELECT s::text FROM df.secrets s").fetchall()
    assert len(rows) == 1
    assert "the-value-itself" not in str(rows)
