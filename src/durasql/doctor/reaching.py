"""Between here and PostgreSQL: the way there, what is in between, and whose clock is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import psycopg

from durasql.doctor.finding import Finding, error, warning
from durasql.doctor.patient import Patient

_SKEW: Final = 2.0
"""Seconds; less than that is what machines without a good time service have."""

_REMEDIES: Final = (
    (r"unsupported startup parameter", "A pooler is in between: point workers at PostgreSQL itself."),
    (r"password authentication failed|no password supplied", "Check user and password; a .pgpass line or"
     " a service file keeps the password out of the DSN."),
    (r"no pg_hba\.conf entry", "Add a line for this role, database and address to pg_hba.conf and reload."),
    (r"peer authentication failed|ident authentication failed", "Over the socket, the OS user must have"
     " the role's name (or a pg_ident.conf map); else connect over TCP with a password."),
    (r"role .* does not exist", "Create the role, or name another user in the DSN."),
    (r"is not permitted to log in", "ALTER ROLE … LOGIN, or name another user in the DSN."),
    (r"database .* does not exist", "Create the database, or name another one in the DSN (dbname=…)."),
    (r"too many|remaining connection slots", "Raise max_connections, or close what holds connections."),
    (r"translate host name|name or service not known|resolve host", "The host's name cannot be resolved"
     " from this machine: check its spelling and the name service."),
    (r"refused|no such file", "Nothing listens there: check host and port, and that the server runs"
     " (listen_addresses)."),
    (r"timeout", "Nothing answers there: check the address, firewalls and security groups."),
    (r"starting up|shutting down|recovery", "The server is not ready yet; workers wait for it."),
    (r"ssl|tls|certificate", "Check sslmode and sslrootcert in the DSN against what the server offers."),
)  # fmt: skip


def unreachable(failure: psycopg.Error, dsn: str) -> Finding:
    """No connection at all."""
    # libpq quotes a DSN that it cannot read, passwords included.
    said = " ".join(str(failure).replace(dsn or "\0", "…").split())
    if isinstance(failure, psycopg.ProgrammingError):
        return error(
            f"not a usable DSN: {said}",
            "Nothing works without a connection.",
            "Write it as postgresql://user@host/db or as host=… dbname=… user=….",
        )
    remedy = next(
        (do for pattern, do in _REMEDIES if re.search(pattern, said, re.IGNORECASE)),
        "Check --dsn, DURASQL_DSN or the PG* variables.",
    )
    return error(f"cannot connect: {said}", "Nothing works without a connection.", remedy)


def pooler(patient: Patient) -> Iterator[Finding]:
    """The server process that answers is not the one that the greeting named."""
    if patient.ask("SELECT pg_backend_pid()") != patient.connection.info.backend_pid:
        yield error(
            "there is a connection pooler between this machine and PostgreSQL",
            "Workers need sessions of their own, for locks, LISTEN and prepared statements; they refuse this"
            " DSN. Applications that only call df.start and the like may use it.",
            "Give workers a DSN of PostgreSQL itself (usually another port).",
        )


def clock_skew(patient: Patient) -> Iterator[Finding]:
    """The halfway point of a round trip against the server's clock."""
    clock = patient.request.clock
    before = clock()
    server = float(patient.ask("SELECT extract(epoch FROM clock_timestamp())::double precision"))
    after = clock()
    skew, doubt = server - (before + after) / 2, (after - before) / 2
    if abs(skew) > _SKEW + doubt:
        yield warning(
            f"this machine's clock is {abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the server's",
            "Workflows go by the server's clock alone, but logs and traces of workers do not line up with"
            " them, and certificates may count as not valid yet or no longer.",
            "Run a time service (chrony, systemd-timesyncd) on both machines.",
        )


def unencrypted(patient: Patient) -> Iterator[Finding]:
    """Another machine, and no TLS."""
    info = patient.connection.info
    address = info.hostaddr
    near = not address or address.startswith("127.") or address == "::1"
    if not near and not patient.connection.pgconn.ssl_in_use:
        yield warning(
            f"the connection to {info.host} is not encrypted",
            "Statements, results and secrets of workflows cross the network as plain text.",
            "Turn ssl on in the server and add sslmode=verify-full to the DSN.",
        )
