"""Workers: is any alive, are some dead, do they come after their work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durasql import __version__
from durasql.doctor.finding import Finding, error, info, literal, warning
from durasql.doctor.patient import Patient

_OVERDUE: Final = 5.0
"""Seconds that a due instance may wait before it is worth a word; workers look twice a second."""
_LONG_OVERDUE: Final = 60.0
_SILENT: Final = 10.0
"""Seconds without a heartbeat, of which there is one a second."""


def no_worker(patient: Patient) -> Iterator[Finding]:
    if patient.alive:
        return
    due = sum(entry.due for entry in patient.backlog)
    make = error if due else warning
    yield make(
        "no worker is alive" + (f", and {due} instances wait for one" if due else ""),
        "What df.start accepts is kept, and nothing executes it.",
        f"durasql worker --dsn …, as {patient.login} or as a role with df.grant_worker; deploy/ has units.",
    )


def dead_workers(patient: Patient) -> Iterator[Finding]:
    """Rows of workers without their lock: killed, and nobody took over."""
    for worker in patient.registered or ():
        if not worker.alive:
            heard = f"last heard of {worker.heard_seconds:.0f} s ago"
            yield warning(
                f"worker {worker.name} on {worker.host} is dead, {heard}",
                "Its instances move on as soon as a worker lives that serves their roles.",
                "Start it again, or another one; look at its log for why it ended.",
            )


def silent_workers(patient: Patient) -> Iterator[Finding]:
    for worker in patient.registered or ():
        if worker.alive and worker.heard_seconds > _SILENT:
            silence = f"was silent for {worker.heard_seconds:.0f} s"
            yield warning(
                f"worker {worker.name} on {worker.host} is connected, but {silence}",
                "It hangs, or its machine does. After lease_seconds others take its instances over.",
                "Look at its log and /healthz; end it if it does not recover.",
            )


def other_versions(patient: Patient) -> Iterator[Finding]:
    found = {worker.version for worker in patient.registered or () if worker.alive} - {__version__}
    if found:
        yield warning(
            f"workers run durasql {', '.join(sorted(found))}, this is {__version__}",
            "That is well during an upgrade; afterwards some are forgotten.",
            "Upgrade durasql on their machines and restart them.",
        )


def hidden_workers(patient: Patient) -> Iterator[Finding]:
    if patient.registered is None:
        yield info(
            f"{patient.login} may not see the list of workers",
            "Dead and silent workers, and workers of other versions, were not looked for.",
            "Ask as the owner of schema df, or have it SELECT"
            f" df.grant_usage({literal(patient.login)}, with_grant => true);",
        )


def lag(patient: Patient) -> Iterator[Finding]:
    """Due instances that a live worker should have taken by now."""
    for entry in patient.backlog:
        if entry.role is None or entry.lag_seconds < _OVERDUE or not patient.served(entry.role):
            continue
        make = error if entry.lag_seconds > _LONG_OVERDUE else warning
        yield make(
            f"{entry.due} instances of {entry.role} are overdue, the first by {entry.lag_seconds:.0f} s",
            "The workers that serve this role are full, stuck, or wait for locks.",
            "Look at durasql top or df.workers; raise --concurrency and --sessions, or start more workers.",
        )


def lost_instances(patient: Patient) -> Iterator[Finding]:
    for entry in patient.backlog:
        if entry.lost:
            yield error(
                f"{entry.lost} instances of {entry.role} are in the hands of workers that are gone",
                "They go on when a worker lives that serves this role.",
                "durasql worker --dsn …",
            )


def stuck_undo(patient: Patient) -> Iterator[Finding]:
    for entry in patient.backlog:
        if entry.stuck:
            yield error(
                f"{entry.stuck} instances of {entry.role} are stuck",
                "A step that was to undo another failed for good; what it should undo is still there.",
                "durasql list --status stuck; mend the cause and retry them.",
            )
