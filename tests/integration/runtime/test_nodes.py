"""Every node type from df.start to the result, as the role that started it (P2, P6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import Stage

SELECTS = [
    ("'SELECT 1 AS one'", {"rows": [{"one": 1}], "row_count": 1}),
    ("'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b'", {"rows": [{"b": 2}], "row_count": 1}),
    (
        "'SELECT 1 AS a' & 'SELECT 2 AS b'",
        [{"rows": [{"a": 1}], "row_count": 1}, {"rows": [{"b": 2}], "row_count": 1}],
    ),
    ("'SELECT true' ?> 'SELECT 1 AS y' !> 'SELECT 2 AS n'", {"rows": [{"y": 1}], "row_count": 1}),
    ("'SELECT false' ?> 'SELECT 1 AS y' !> 'SELECT 2 AS n'", {"rows": [{"n": 2}], "row_count": 1}),
    ("df.sleep(0)", {"slept": True, "seconds": 0}),
    ("df.sleep(1)", {"slept": True, "seconds": 1}),
    ("df.wait_for_signal('never', 1)", {"signal_name": "never", "timed_out": True, "data": None}),
    ("df.loop(df.break('done'))", "done"),
    ("@> ('SELECT 7 AS n' |=> 'n' ~> df.break('$n'))", 7),
    ("df.loop('SELECT 1 AS body', 'SELECT false')", {"rows": [{"body": 1}], "row_count": 1}),
    ("df.race('SELECT 1 AS fast', df.sleep(60))", {"rows": [{"fast": 1}], "row_count": 1}),
    ("'SELECT 1 AS a WHERE false' |=> 'x' ~> df.if_rows('x', 'SELECT 1', df.sleep(0))",
     {"slept": True, "seconds": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), SELECTS)
async def test_each_node_gives_its_value(working: Stage, expression: str, value: Any) -> None:
    assert (await working.run(expression)).value == value


async def test_a_schedule_waits_for_the_next_tick(working: Stage) -> None:
    id_ = await working.start_expression("df.wait_for_schedule('* * * * *')")
    await working.until_parked(id_)
    late = await working.one(
        "SELECT due > now() AND due <= now() + interval '61 s' AND extract(second FROM due) = 0 "
        "FROM df.instances WHERE id = %s", (id_,)
    )  # fmt: skip
    assert late
    await working.sql("UPDATE df.journal SET due = now() - interval '1 s'", role=working.database.owner)
    await working.sql("UPDATE df.instances SET due = now()", role=working.database.owner)
    assert (await working.outcome(id_)).value == {"scheduled": True}


async def test_a_failing_step_fails_what_is_around_it(working: Stage) -> None:
    outcome = await working.run("'SELECT 1' ~> 'SELECT 1/0' ~> 'SELECT 2'")
    assert outcome.error == "SQL execution failed: error returned from database: division by zero"


async def test_a_fork_after_a_step_runs_its_branches_at_the_same_time(working: Stage) -> None:
    """Neither branch could finish before the other began: both wait for the other's lock or row."""
    outcome = await working.run(
        "'SELECT 1' ~> (df.race('SELECT pg_sleep(120) /* slow arm */', 'SELECT 2 AS fast'))"
    )
    assert outcome.value == {"rows": [{"fast": 2}], "row_count": 1}
    await working.until_idle("slow arm")


async def test_a_timeout_beside_a_step_fires_after_another_step(working: Stage) -> None:
    outcome = await working.run(
        "'SELECT 1' ~> df.race('SELECT pg_sleep(120) /* too slow */', df.sleep(1)) ~> 'SELECT 3 AS n'"
    )
    assert outcome.value == {"rows": [{"n": 3}], "row_count": 1}
    await working.until_idle("too slow")


async def test_a_loop_of_sleeps_keeps_its_rows_and_deadlines(working: Stage) -> None:
    outcome = await working.run(
        "df.loop(df.sleep(0) ~> 'INSERT INTO effects (what) VALUES (''x'')',"
        " 'SELECT count(*) < 5 FROM effects')"
    )
    assert outcome.status == "completed"
    assert await working.one("SELECT count(*) FROM effects") == 5


async def test_a_wait_is_armed_again_in_every_generation(working: Stage) -> None:
    """The loser of one generation's race is the same node that waits in the next."""
    id_ = await working.start_expression(
        "df.loop(df.race(df.wait_for_signal('go') , df.sleep(1)) "
        "~> 'INSERT INTO effects (what) VALUES (''turn'')', 'SELECT count(*) < 3 FROM effects')"
    )
    assert (await working.outcome(id_)).status == "completed"
    assert await working.one("SELECT count(*) FROM effects") == 3


async def test_an_endless_loop_of_nothing_does_not_stop_others(working: Stage) -> None:
    id_ = await working.start_expression("df.loop(df.sleep(0))")
    await working.until(
        "SELECT gen::int > 5 FROM df.journal WHERE instance_id = %s AND state = 'looping'", (id_,)
    )
    assert (await working.run("'SELECT 1 AS a'")).value["rows"] == [{"a": 1}]
    await working.sql("SELECT df.cancel(%s)", (id_,))
    assert (await working.outcome(id_)).status == "cancelled"


async def test_many_instances_at_once(working: Stage) -> None:
    ids = [row[0] for row in await working.sql(
        "SELECT df.start('INSERT INTO effects (what) VALUES (''' || n || ''')' ~> 'SELECT 1')"
        " FROM generate_series(1, 100) n"
    )]  # fmt: skip
    outcomes = await asyncio.gather(*(working.outcome(id_) for id_ in ids[:20]))
    assert {outcome.status for outcome in outcomes} == {"completed"}
    await working.until("SELECT count(*) = 100 FROM df.instances WHERE status = 'completed'")
    assert await working.one("SELECT count(DISTINCT what) = 100 AND count(*) = 100 FROM effects")


async def test_an_undo_that_is_being_run_is_shown_as_running(working: Stage) -> None:
    id_ = await working.start_expression(
        "('SELECT 1' <~ ('SELECT 2' ~> df.sleep(3600) ~> 'SELECT 3')) ~> 'SELECT 1/0'"
    )
    await working.until_parked(id_)
    told = await working.sql("SELECT node_type, inferred_status FROM df.instance_nodes(%s)", (id_,))
    assert told[3:] == [
        ("THEN", "running"),
        ("THEN", "running"),
        ("SQL", "completed"),
        ("SLEEP", "running"),
        ("SQL", "pending"),
        ("SQL", "failed"),
    ]
    assert "SLEEP 3600s ⏳" in await working.one("SELECT df.explain(%s)", (id_,))
