"""Roles with unfinished work: can it be executed at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg

from durasql.doctor.finding import Finding, error, identifier, info, warning
from durasql.doctor.patient import Patient
from durasql_runtime.pool import login_conninfo
from durasql_runtime.settings import is_on

_PATIENCE: Final = 5
"""Seconds for one login."""
_MOST_LOGINS: Final = 20
"""Roles whose login is tried."""


def dropped_roles(patient: Patient) -> Iterator[Finding]:
    for entry in patient.backlog:
        if entry.role is None:
            yield error(
                f"{entry.unfinished} instances belong to a role that was dropped",
                "Nobody can log in as it, so they fail when a worker takes them.",
                "Cancel them as the owner: SELECT df.cancel(id, 'role dropped') FROM df.instances WHERE …",
            )


def roles_without_login(patient: Patient) -> Iterator[Finding]:
    for entry in patient.backlog:
        if entry.role is not None and not entry.can_login:
            yield error(
                f"{entry.unfinished} instances belong to {entry.role}, which has no LOGIN",
                "Steps run in sessions that log in as the role that started them; these will fail.",
                f"ALTER ROLE {identifier(entry.role)} LOGIN, or start workflows as a role that has it.",
            )


def superusers(patient: Patient) -> Iterator[Finding]:
    if is_on(patient.ask("SELECT df.setting('enable_superuser_instances')")):
        return
    for entry in patient.backlog:
        if entry.superuser:
            yield error(
                f"{entry.unfinished} instances belong to {entry.role}, a superuser",
                "Workers refuse instances of superusers (enable_superuser_instances is off).",
                "Start workflows as an ordinary role.",
            )


def unserved_roles(patient: Patient) -> Iterator[Finding]:
    """There are workers, but none for them."""
    for entry in patient.backlog:
        if entry.role is not None and patient.alive and not patient.served(entry.role):
            yield error(
                f"no worker serves {entry.role}, which has {entry.unfinished} unfinished instances",
                "A worker serves the role it logs in as, or every role after df.grant_worker.",
                f"durasql worker as {entry.role}; or as the owner of schema df, for the role of a worker that"
                " runs: SELECT df.grant_worker('…');",
            )


def unreachable_roles(patient: Patient) -> Iterator[Finding]:
    """A worker with this login would serve them, and cannot log in as them from here."""
    if not patient.serves_all:
        return
    roles = [entry.role for entry in patient.backlog if entry.role and entry.can_login]
    for role in roles[:_MOST_LOGINS]:
        refusal = _refusal(patient, role)
        if refusal is not None:
            make = warning if patient.served(role) else error
            yield make(
                f"this login cannot log in as {role}: {refusal}",
                f"A worker of {patient.login} on this machine fails the steps of {role} with these words.",
                f"A .pgpass line for {role}, --role-dsn {role}=…, or a line in pg_hba.conf.",
            )
    if len(roles) > _MOST_LOGINS:
        yield info(
            f"{len(roles) - _MOST_LOGINS} more roles have unfinished instances; their logins were not tried",
            "Every login costs the server a process.",
            "Run a worker and look at the instances that fail.",
        )


def _refusal(patient: Patient, role: str) -> str | None:
    request = patient.request
    try:
        conninfo = login_conninfo(request.dsn, request.role_dsns, role, "durasql doctor")
        with psycopg.connect(conninfo, connect_timeout=_PATIENCE) as connection:
            found = connection.execute("SELECT session_user").fetchone()
    except psycopg.Error as failure:
        return " ".join(str(failure).split())
    return None if found == (role,) else f"the session is {found[0] if found else 'nobody'}'s"
