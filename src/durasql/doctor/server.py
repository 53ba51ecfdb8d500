"""The server: its version, and settings that hurt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durasql.doctor.finding import Finding, error, identifier, warning
from durasql.doctor.patient import Patient
from durasql.store import health
from durasql.store.install import OLDEST_SERVER

_NEWEST_TESTED: Final = 18
_SHORT_MS: Final = 60_000
"""Milliseconds; idle limits below cut off sessions that workers keep on purpose."""
_OWN_SESSIONS: Final = 2
"""A worker's control session, and the one that listens."""


def version(patient: Patient) -> Iterator[Finding]:
    found = patient.connection.info.server_version
    if found < OLDEST_SERVER:
        yield error(
            f"PostgreSQL {found // 10000} is too old",
            f"Schema df needs PostgreSQL {OLDEST_SERVER // 10000} or newer.",
            "Upgrade the server.",
        )
    elif found // 10000 > _NEWEST_TESTED:
        yield warning(
            f"PostgreSQL {found // 10000} is newer than what durasql was tested with",
            f"The tests of this durasql end with PostgreSQL {_NEWEST_TESTED}.",
            "pip install --upgrade durasql",
        )


def encoding(patient: Patient) -> Iterator[Finding]:
    found = patient.ask(
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    )
    if found != "UTF8":
        yield error(
            f"the database's encoding is {found}",
            "Workflows and results are JSON, which is UTF-8.",
            "Use a database made with ENCODING 'UTF8' TEMPLATE template0.",
        )


def standby(patient: Patient) -> Iterator[Finding]:
    if patient.ask("SELECT pg_is_in_recovery()"):
        yield error(
            "this server is a standby",
            "Nothing can be written here; a worker waits until it is promoted.",
            "Name all servers and ask for the primary: host=db1,db2 target_session_attrs=read-write.",
        )


def read_only(patient: Patient) -> Iterator[Finding]:
    if patient.settings["default_transaction_read_only"] == "on":
        yield error(
            f"transactions of {patient.login} are read-only (default_transaction_read_only)",
            "No step can be recorded, and df.start fails.",
            f"ALTER ROLE {identifier(patient.login)} RESET default_transaction_read_only; look at the"
            " settings of the database and the server, too.",
        )


def volatile_commit(patient: Patient) -> Iterator[Finding]:
    if patient.settings["synchronous_commit"] == "off":
        yield warning(
            "synchronous_commit is off",
            "A crash of the server loses its last commits. Step and record are lost together, so SQL stays"
            " exactly once; an HTTP call is made again, and a caller of df.start may have been told of a run"
            " that is gone.",
            "Leave it on, at least for roles that start workflows.",
        )


def unsafe_storage(patient: Patient) -> Iterator[Finding]:
    off = [name for name in ("fsync", "full_page_writes") if patient.settings[name] == "off"]
    if off:
        yield warning(
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off",
            "A crash of the machine can damage the database, and no workflow survives that.",
            "Turn it on, unless the data may be lost.",
        )


def idle_limits(patient: Patient) -> Iterator[Finding]:
    """Limits in ms that end sessions which are idle on purpose."""
    why = {
        "idle_in_transaction_session_timeout": "A step's transaction is idle for a moment before it is"
        " recorded; a busy worker can take longer than that, and the step is rolled back and repeated.",
        "idle_session_timeout": "Workers keep sessions open for the next step, and one to listen on; they"
        " lose them and sign on again and again.",
        "transaction_timeout": "Steps that take longer fail, whatever their statement_timeout allows.",
    }
    for name, reason in why.items():
        value = int(patient.settings.get(name, "0"))
        if 0 < value < _SHORT_MS:
            yield warning(
                f"{name} is {value / 1000:g} s",
                reason,
                f"ALTER ROLE {identifier(patient.login)} SET {name} = 0, or at least a minute.",
            )


def no_autovacuum(patient: Patient) -> Iterator[Finding]:
    off = [name for name in ("autovacuum", "track_counts") if patient.settings[name] == "off"]
    if off:
        yield warning(
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off",
            "df.instances and df.journal are updated with every step; without vacuum they grow for ever and"
            " everything becomes slow.",
            "Turn it on, or vacuum both tables every few minutes.",
        )


def connections(patient: Patient) -> Iterator[Finding]:
    """What one worker with these options may open, against what is left."""
    request = patient.request
    needed = request.sessions + _OWN_SESSIONS + request.sessions_per_role
    room = health.connections(patient.connection)
    limits = {
        "max_connections": room.most - room.reserved - room.used,
        "the database's CONNECTION LIMIT": room.of_database,
        f"the CONNECTION LIMIT of {patient.login}": room.of_role,
    }
    for name, left in limits.items():
        if (left >= 0 or name == "max_connections") and left < needed:
            yield warning(
                f"{name} leaves {max(left, 0)} sessions, a worker may open {needed}",
                "Steps then wait for sessions, and other programs find none.",
                f"Raise it, or start workers with fewer: durasql worker --sessions {max(left // 2, 1)}.",
            )
