"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from psycopg import sql

from durasql.doctor.patient import Patient
from durasql.errors import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `what` in one line, `why` it matters, what to `do`.

    Errors keep workflows from running, warnings will hurt some day, infos tell what could not be checked.
    `check` is the name of the check, filled in by whoever runs it.
    """

    severity: Severity
    what: str
    why: str
    do: str
    check: str = ""


Check: TypeAlias = Callable[[Patient], Iterator[Finding]]


def identifier(name: str) -> str:
    """A role's name as SQL takes it, for a remedy that can be pasted."""
    return sql.Identifier(name).as_string()


def literal(text: str) -> str:
    """A text as SQL takes it."""
    return sql.Literal(text).as_string()


def error(what: str, why: str, do: str) -> Finding:
    return Finding(Severity.ERROR, what, why, do)


def warning(what: str, why: str, do: str) -> Finding:
    return Finding(Severity.WARNING, what, why, do)


def info(what: str, why: str, do: str) -> Finding:
    return Finding(Severity.INFO, what, why, do)
