"""Schema df: is it there, is it durasql's, is it of this version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durasql import __version__
from durasql.doctor.finding import Finding, error
from durasql.doctor.patient import Patient
from durasql.errors import PermissionDenied
from durasql.store.install import SchemaStatus, migrations, status

_INSTALL: Final = "As the owner of the database: durasql db install --dsn …"


def schema(patient: Patient) -> Iterator[Finding]:
    """At most one finding; an error means that nothing in df can be asked."""
    try:
        yield from _judged(status(patient.request.dsn))
    except PermissionDenied:  # the list of migrations is the owner's; anybody granted may know the last one
        if patient.may_use_schema:
            yield from _judged_by_number(patient.ask("SELECT df._schema_version()"))


def _judged(found: SchemaStatus) -> Iterator[Finding]:
    if found.foreign:
        yield error(
            "there is a schema df that durasql did not make",
            "The extension pg_durable, or something else, occupies the name.",
            "Use another database, or remove that schema or extension.",
        )
    elif not found.installed:
        yield error("schema df is missing", "Workflows live in it.", _INSTALL)
    elif found.newer:
        yield _newer(found.newer[-1].version)
    elif found.pending:
        yield _older(found.applied[-1].version)
    elif found.changed:
        names = ", ".join(migration.filename for migration in found.changed)
        yield error(
            f"schema df was installed from other files than this durasql has: {names}",
            "It was made by a development version, so what this durasql expects may not be there.",
            "Install the release it was made with, or move to a fresh database.",
        )


def _judged_by_number(found: int | None) -> Iterator[Finding]:
    needed = migrations()[-1].version
    if found is not None and found < needed:
        yield _older(found)
    elif found is not None and found > needed:
        yield _newer(found)


def _older(found: int) -> Finding:
    return error(
        f"schema df is at migration {found:04}, durasql {__version__} needs {migrations()[-1].version:04}",
        "Workers of this version refuse to begin.",
        _INSTALL,
    )


def _newer(found: int) -> Finding:
    return error(
        f"schema df is at migration {found:04}, durasql {__version__} knows {migrations()[-1].version:04}",
        "It was upgraded by a newer durasql, whose programs this one may not be able to run.",
        "pip install --upgrade durasql",
    )
