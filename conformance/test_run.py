"""Runs against their golden traces, through nothing but the public interface of schema df.

DURASQL_CONFORMANCE_DSN points this half at another implementation; its cases create tables,
so they need a fresh database whose schema public is open to the role.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from conformance.cases import CASES, Case
from conformance.golden import Explained, Traced
from conformance.postgresql import Session, is_script
from conformance.test_compile import ACCEPTED, accepted
from conformance.trace import connect, trace

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Can not relate snapshot")

EXPLAINED = [case for case in ACCEPTED if case.construct != "limits"]


@pytest.fixture(scope="module")
def runner(dsn: str) -> Iterator[Session]:
    """A session where the cases run."""
    with connect(dsn) as connection:
        yield connection


@pytest.mark.parametrize("case", [case for case in CASES if case.runs])
def test_trace(case: Case, runner: Session, snapshot: SnapshotAssertion) -> None:
    assert trace(runner, case) == snapshot.use_extension(Traced)


@pytest.mark.parametrize("case", EXPLAINED)
def test_explain(case: Case, user: Session, snapshot: SnapshotAssertion) -> None:
    """The text of the case where that is an expression, else the graphs that it starts."""
    texts = [start.graph for start in accepted(case).starts] if is_script(case.text) else [case.text]
    shown = [user.execute("SELECT df.explain(%s)", (text,)).fetchone() for text in texts]
    lines = "\n\n".join(str(row[0]) for row in shown if row).split("\n")
    assert "\n".join(line.rstrip() for line in lines) + "\n" == snapshot.use_extension(Explained)
