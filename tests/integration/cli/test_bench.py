"""`durasql bench` measures a server and leaves it as it was."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Command

SHAPES = ["one step", "ten steps", "ten branches"]


def test_it_measures_and_leaves_nothing_behind(durasql: Command, database: Any) -> None:
    role = database.role()
    with database.connect(role) as user:
        (kept,) = user.execute("SELECT df.start('SELECT 1', 'durasql bench of mine')").fetchone()
        done = durasql("bench", "--seconds", "0.1", "--json", "--dsn", database.dsn(role))
        assert done.code == 0, done.err
        assert [figure["shape"] for figure in done.json["figures"]] == SHAPES
        assert all(figure["ratio"] > 0 for figure in done.json["figures"])
        assert done.json["latency_ms"]["p50"] > 0
        assert user.execute("SELECT id FROM df.instances").fetchall() == [(kept,)]
        assert user.execute("SELECT DISTINCT instance_id FROM df.journal").fetchall() == [(kept,)]


def test_its_rows_are_all_that_can_be_removed(database: Any) -> None:
    """Removal is by label, and only of what is over and one's own (P6)."""
    with database.connect(database.role()) as owner, database.connect(database.role()) as other:
        owner.execute("SELECT df.start('SELECT 1', 'durasql bench 1'), df.start('SELECT 1', 'nightly')")
        assert owner.execute("SELECT df._remove_bench('durasql bench 1')").fetchone() == (0,)
        owner.execute("SELECT df.cancel(id) FROM df.instances")
        assert other.execute("SELECT df._remove_bench('durasql bench 1')").fetchone() == (0,)
        assert owner.execute("SELECT df._remove_bench('nightly')").fetchone() == (0,)
        assert owner.execute("SELECT df._remove_bench('durasql bench 1')").fetchone() == (1,)
        assert owner.execute("SELECT label FROM df.instances").fetchall() == [("nightly",)]


@pytest.mark.parametrize("arguments", [("--seconds", "0"), ("--processes", "-1")])
def test_what_makes_no_sense_is_a_usage_error(durasql: Command, arguments: tuple[str, str]) -> None:
    assert durasql("bench", *arguments).code == 2
