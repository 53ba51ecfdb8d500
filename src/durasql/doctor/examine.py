"""The checks in their order. In: what to examine. Out: the findings, the worst first.

Each stage needs what the one before found sound: a connection, then schema df, then the right to use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durasql.doctor import client, reaching, rights, roles, schema, server, workers
from durasql.doctor.finding import Check, Finding, info
from durasql.doctor.patient import Patient, Request
from durasql.errors import DurasqlError, Severity

_PATIENCE: Final = 10
"""Seconds for the connection."""

_CAREFULLY: Final = (
    b"SET TRANSACTION READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp;"
    b" SET LOCAL statement_timeout = '10 s'; SET LOCAL lock_timeout = '2 s'"
)
"""For one transaction, because behind a pooler the next client would inherit it. The search_path is pinned:
anybody may have made a function that fits a call better than PostgreSQL's own, and this may be a superuser.
"""

CONNECTED: Final[tuple[Check, ...]] = (
    client.old_libpq,
    client.old_psycopg,
    client.slow_psycopg,
    reaching.pooler,
    reaching.clock_skew,
    reaching.unencrypted,
    server.version,
    server.encoding,
    server.standby,
    server.read_only,
    server.volatile_commit,
    server.unsafe_storage,
    server.idle_limits,
    server.no_autovacuum,
    server.connections,
    rights.session_role,
)
INSTALLED: Final[tuple[Check, ...]] = (schema.schema,)
GRANTED: Final[tuple[Check, ...]] = (rights.usage,)
RUNNING: Final[tuple[Check, ...]] = (
    rights.privileges,
    workers.no_worker,
    workers.dead_workers,
    workers.silent_workers,
    workers.other_versions,
    workers.hidden_workers,
    workers.lag,
    workers.lost_instances,
    workers.stuck_undo,
    roles.dropped_roles,
    roles.roles_without_login,
    roles.superusers,
    roles.unserved_roles,
    roles.unreachable_roles,
)
_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Report:
    """`made` is how many checks were made; not all can be when an early one fails."""

    findings: tuple[Finding, ...]
    made: int
    reached: bool
    database: str | None = None

    @property
    def sound(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def examine(request: Request) -> Report:
    """Make all checks that can be made. Raises nothing for what is wrong with the database."""
    try:
        connection = _connect(request)
    except psycopg.Error as failure:
        finding = replace(reaching.unreachable(failure, request.dsn), check="unreachable")
        return Report((finding,), 1, reached=False)
    with connection:
        findings, made = _made(Patient(request, connection))
        database = connection.info.dsn
    return Report(tuple(findings), made, reached=True, database=database)


def _connect(request: Request) -> psycopg.Connection[tuple[object, ...]]:
    said = {
        "connect_timeout": _PATIENCE,
        **conninfo_to_dict(request.dsn),
        "application_name": "durasql doctor",
    }
    return psycopg.connect(make_conninfo("", **said), autocommit=True, prepare_threshold=None)


def _made(patient: Patient) -> tuple[list[Finding], int]:
    findings: list[Finding] = []
    made = 0
    for stage in (CONNECTED, INSTALLED, GRANTED, RUNNING):
        found = [finding for check in stage for finding in _said(check, patient)]
        findings += found
        made += len(stage)
        if stage is not CONNECTED and any(finding.severity is Severity.ERROR for finding in found):
            break
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity)), made


def _said(check: Check, patient: Patient) -> Sequence[Finding]:
    """What a check finds; one that cannot be made says that."""
    name = check.__name__.replace("_", "-")
    try:
        with patient.connection.transaction():
            patient.connection.execute(_CAREFULLY)
            found = list(check(patient))
    except (psycopg.Error, DurasqlError) as failure:
        said = " ".join(str(failure).split())
        found = [
            info(
                f"{name} could not be checked: {said}",
                "The server refused the question, or was too busy to answer it.",
                "Ask again as the owner of schema df.",
            )
        ]
    return [replace(finding, check=name) for finding in found]
