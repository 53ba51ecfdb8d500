"""What the login may do."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.doctor.finding import Finding, error, identifier, info, literal, warning
from durasql.doctor.patient import Patient
from durasql.store import health


def usage(patient: Patient) -> Iterator[Finding]:
    """Whether it may use df at all; without that nothing else can be asked."""
    if not patient.may_use_schema:
        yield error(
            f"{patient.login} may not use schema df",
            "It can neither start workflows nor run a worker.",
            f"As the owner of schema df: SELECT df.grant_usage({literal(patient.login)});",
        )


def privileges(patient: Patient) -> Iterator[Finding]:
    """What df.grant_usage grants today, all of it or none."""
    missing = health.missing_privileges(patient.connection)
    if not missing:
        return
    again = f"As the owner of schema df: SELECT df.grant_usage({literal(patient.login)});"
    if patient.serves_all:
        yield info(
            f"{patient.login} is a worker's login: it runs the workflows of other roles and starts none",
            "df.grant_worker gives no right to start workflows, or to see any.",
            f"Nothing, if that is meant. Else: {again}",
        )
    else:
        yield warning(
            f"{patient.login} lacks privileges in schema df: {', '.join(sorted(set(missing)))}",
            "An upgrade added some, or a part was revoked: workflows cannot be started, or not be read.",
            again,
        )


def session_role(patient: Patient) -> Iterator[Finding]:
    """A default SET ROLE makes sessions act as somebody else than they log in as."""
    current = patient.ask("SELECT current_user")
    if current != patient.login:
        yield error(
            f"sessions of {patient.login} begin as {current}",
            "Its workflows belong to the one role and their statements have the rights of the other.",
            f"ALTER ROLE {identifier(patient.login)} RESET role;",
        )
