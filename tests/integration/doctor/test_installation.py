"""P10: what is wrong with schema df, rights, workers and roles is found (P6: by those who may)."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from durasql.errors import Severity
from durasql.store.install import migrations

LATEST = migrations()[-1].version


def start(database: Any, role: str, text: str = "SELECT 1") -> str:
    with database.connect(role) as connection:
        return str(connection.execute("SELECT df.start(%s)", (text,)).fetchone()[0])


def owner(database: Any, statement: str, *parameters: Any) -> None:
    with database.connect() as connection:
        connection.execute(statement, parameters)


# --- schema ---


def test_a_missing_schema(doctor: Any, empty_database: str) -> None:
    found = doctor(dsn=empty_database)["schema"]
    assert (found.severity, found.what) == (Severity.ERROR, "schema df is missing")
    assert "durasql db install" in found.do


def test_a_schema_of_somebody_else(doctor: Any, empty_database: str) -> None:
    import psycopg

    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE SCHEMA df")
    assert "did not make" in doctor(dsn=empty_database)["schema"].what


@pytest.mark.parametrize("granted", [False, True])
def test_an_older_schema(granted: bool, doctor: Any, database: Any) -> None:
    owner(database, "DELETE FROM df.migrations WHERE version = %s", LATEST)
    found = doctor(database.role() if granted else None)["schema"]
    assert f"is at migration {LATEST - 1:04}" in found.what
    assert "db install" in found.do


@pytest.mark.parametrize("granted", [False, True])
def test_a_newer_schema(granted: bool, doctor: Any, database: Any) -> None:
    owner(database, "INSERT INTO df.migrations (version, name, checksum) VALUES (9999, 'x', 'x')")
    found = doctor(database.role() if granted else None)["schema"]
    assert "is at migration 9999" in found.what
    assert "pip install --upgrade" in found.do


def test_a_schema_from_other_files(doctor: Any, database: Any) -> None:
    owner(database, "UPDATE df.migrations SET checksum = 'x' WHERE version = 1")
    assert migrations()[0].filename in doctor()["schema"].what


# --- rights ---


def test_a_role_without_rights_is_told_how_to_get_them(doctor: Any, database: Any) -> None:
    role = database.role(grant=False)
    found = doctor(role)
    assert found["usage"].do.endswith(f"SELECT df.grant_usage('{role}');")
    assert "lag" not in found


def test_rights_that_are_half_there_are_found(doctor: Any, database: Any) -> None:
    role = database.role()
    assert "privileges" not in doctor(role)
    owner(database, f'REVOKE INSERT (instance_id, name, data) ON df.signals FROM "{role}"')
    assert "df.signals" in doctor(role)["privileges"].what


def test_a_workers_role_is_no_problem(doctor: Any, database: Any) -> None:
    role = database.role(grant=False)
    owner(database, "SELECT df.grant_worker(%s)", role)
    found = doctor(role)
    assert found["privileges"].severity is Severity.INFO
    assert not [finding for finding in found.values() if finding.severity is Severity.ERROR]


def test_sessions_that_begin_as_another_role_are_found(doctor: Any, database: Any, cluster: Any) -> None:
    role, other = database.role(), database.role()
    cluster.execute(f"GRANT {other} TO {role}")
    cluster.execute(f"ALTER ROLE {role} SET role = {other}")
    assert f"begin as {other}" in doctor(role)["session-role"].what


# --- workers ---


def test_no_worker_is_an_error_only_when_work_waits_for_one(doctor: Any, database: Any) -> None:
    role = database.role()
    assert doctor(role)["no-worker"].severity is Severity.WARNING
    start(database, role)
    assert doctor(role)["no-worker"].severity is Severity.ERROR


def test_with_a_worker_there_is_nothing_to_say(doctor: Any, database: Any, alive: Any) -> None:
    alive()
    left = {"unsafe-storage", "volatile-commit"}  # the tests' server is fast rather than safe
    assert set(doctor()) == left


def test_a_killed_worker_and_what_it_held_are_found(doctor: Any, database: Any, alive: Any) -> None:
    worker = alive(None, "--name", "w1")
    start(database, database.owner, "SELECT pg_sleep(60)")
    with database.connect() as connection:
        while connection.execute("SELECT worker FROM df.instances").fetchone() == (None,):
            pass
        worker.kill()
        worker.wait()
        while connection.execute("SELECT count(*) FROM df._lost()").fetchone() == (0,):
            pass
    found = doctor()
    assert "worker w1 on" in found["dead-workers"].what
    assert found["lost-instances"].severity is Severity.ERROR
    assert found["no-worker"].severity is Severity.WARNING


def test_a_frozen_worker_and_what_waits_for_it_are_found(doctor: Any, database: Any, alive: Any) -> None:
    worker = alive(None, "--name", "w1")
    worker.send_signal(signal.SIGSTOP)
    start(database, database.owner)
    owner(database, "UPDATE df._workers SET heartbeat = now() - interval '20 s', version = '0.0.9'")
    owner(database, "UPDATE df.instances SET due = now() - interval '10 s'")
    found = doctor()
    assert "silent for 20 s" in found["silent-workers"].what
    assert "0.0.9" in found["other-versions"].what
    assert found["lag"].severity is Severity.WARNING
    assert "overdue, the first by 10 s" in found["lag"].what
    owner(database, "UPDATE df.instances SET due = now() - interval '10 min'")
    assert doctor()["lag"].severity is Severity.ERROR
    worker.send_signal(signal.SIGCONT)


def test_an_ordinary_role_is_told_what_it_may_not_see(doctor: Any, database: Any, alive: Any) -> None:
    role = database.role()
    alive(role)
    assert doctor(role)["hidden-workers"].severity is Severity.INFO


def test_a_stuck_instance_is_found(doctor: Any, database: Any) -> None:
    start(database, database.owner)
    owner(database, "UPDATE df.instances SET status = 'stuck', due = NULL")
    assert "1 instances of" in doctor()["stuck-undo"].what


# --- roles ---


def test_roles_that_nobody_can_log_in_as_are_found(doctor: Any, database: Any, cluster: Any) -> None:
    closed, dropped, mighty = database.role("closed"), database.role("dropped"), database.role("mighty")
    for role in (closed, dropped, mighty):
        start(database, role)
    cluster.execute(f"ALTER ROLE {closed} NOLOGIN")
    cluster.execute(f"DROP OWNED BY {dropped}", database.name)
    cluster.execute(f"DROP ROLE {dropped}")
    cluster.execute(f"ALTER ROLE {mighty} SUPERUSER")
    found = doctor()
    assert closed in found["roles-without-login"].what
    assert "dropped" in found["dropped-roles"].what
    assert mighty in found["superusers"].what
    cluster.execute(f"CREATE ROLE {dropped}")


def test_a_role_that_no_worker_serves_is_found(doctor: Any, database: Any, alive: Any) -> None:
    lonely, served = database.role("lonely"), database.role("served")
    alive(served)
    start(database, lonely)
    assert lonely in doctor()["unserved-roles"].what
    assert lonely in doctor(lonely)["unserved-roles"].what
    assert "unserved-roles" not in doctor(served), "another role's instances are none of its business"


def test_a_role_that_this_login_cannot_reach_is_found(doctor: Any, database: Any, cluster: Any) -> None:
    ops, closed = database.role("ops", grant=False), database.role("closed")
    owner(database, "SELECT df.grant_worker(%s)", ops)
    start(database, closed)
    assert "unreachable-roles" not in doctor(ops)
    cluster.execute(f"ALTER ROLE {closed} CONNECTION LIMIT 0")
    found = doctor(ops)["unreachable-roles"]
    assert found.severity is Severity.ERROR
    assert "too many connections" in found.what
    assert f"--role-dsn {closed}=" in found.do


def test_a_role_dsn_of_another_role_is_found(doctor: Any, database: Any) -> None:
    ops, app = database.role("ops", grant=False), database.role("app")
    owner(database, "SELECT df.grant_worker(%s)", ops)
    start(database, app)
    found = doctor(ops, role_dsns={app: database.dsn(ops)})["unreachable-roles"]
    assert f"the session is {ops}'s" in found.what


# --- the command ---


def test_the_command_shows_findings_and_exits_with_1(durasql: Any, database: Any) -> None:
    role = database.role(grant=False)
    done = durasql("doctor", "--dsn", database.dsn(role))
    assert done.code == 1
    assert f"error    usage            {role} may not use schema df" in done.out
    assert f"→ As the owner of schema df: SELECT df.grant_usage('{role}');" in done.out


def test_warnings_leave_the_exit_code_at_0(durasql: Any, database: Any) -> None:
    done = durasql("doctor", "--json", "--dsn", database.owner_dsn)
    assert done.code == 0
    report = json.loads(done.out)
    assert report["ok"] is True
    assert {"check", "severity", "what", "why", "do"} == set(report["findings"][0])


def test_an_unreachable_database_has_the_exit_code_it_has_everywhere(durasql: Any) -> None:
    done = durasql("doctor", "--json", "--dsn", "host=/nonexistent")
    assert done.code == 5
    assert json.loads(done.out)["findings"][0]["check"] == "unreachable"


def test_a_hostile_name_does_not_reach_the_terminal(durasql: Any, database: Any, alive: Any) -> None:
    worker = alive(None, "--name", "\x1b[2J\x1b]0;pwned\x07")
    worker.kill()
    worker.wait()
    with database.connect() as connection:
        while connection.execute("SELECT count(*) FROM df._lost()").fetchone() == (0,):
            pass
    assert "?[2J" in durasql("doctor", "--dsn", database.owner_dsn).out


def test_the_doctor_leaves_no_trace(database: Any, doctor: Any) -> None:
    with database.connect() as connection:
        before = connection.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
        counted = before.fetchone()
        doctor()
        again = connection.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
        assert again.fetchone() == counted
