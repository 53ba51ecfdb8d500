"""This side: the driver and libpq."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import pq

from durasql.doctor.finding import Finding, error, warning
from durasql.doctor.patient import Patient

_OLDEST_LIBPQ: Final = 140000
"""The first with pipeline mode, on which the step protocol is built."""
_OLDEST_PSYCOPG: Final = (3, 2, 4)


def old_libpq(_: Patient) -> Iterator[Finding]:
    if pq.version() < _OLDEST_LIBPQ:
        yield error(
            f"libpq {pq.version() // 10000} is too old",
            "Steps are sent in libpq's pipeline mode, which came with version 14.",
            "pip install 'psycopg[binary]', which brings a libpq, or install a newer one.",
        )


def old_psycopg(_: Patient) -> Iterator[Finding]:
    found = tuple(int(part) for part in psycopg.__version__.split(".")[:3] if part.isdigit())
    if found < _OLDEST_PSYCOPG:
        yield error(
            f"psycopg {psycopg.__version__} is too old",
            f"durasql needs {'.'.join(map(str, _OLDEST_PSYCOPG))} or newer.",
            "pip install --upgrade 'psycopg[binary]'",
        )


def slow_psycopg(_: Patient) -> Iterator[Finding]:
    if pq.__impl__ == "python":
        yield warning(
            "psycopg runs without its compiled half",
            "Every step costs more of the worker's time.",
            "pip install 'psycopg[binary]' or 'psycopg[c]'",
        )
