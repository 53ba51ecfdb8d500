"""df.retry_instance: a failed instance goes on where it failed, what came before is kept (P2, P4, P5, P6)."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

from .conftest import Stage

NOTE = "$$INSERT INTO effects (what) VALUES ('{}')$$"
RISKY = "$$INSERT INTO effects (what) SELECT 'risky' WHERE 1 / (SELECT n FROM cure) > 0$$"
"""Fails with a division by zero until `heal` is called."""


@pytest.fixture
async def sick(working: Stage) -> Stage:
    await working.sql("CREATE TABLE cure (n integer)")
    await working.sql("INSERT INTO cure VALUES (0)")
    return working


async def heal(stage: Stage) -> None:
    await stage.sql("UPDATE cure SET n = 1")


async def effects(stage: Stage) -> list[str]:
    return [what for (what,) in await stage.sql("SELECT what FROM effects ORDER BY n")]


async def retried(stage: Stage, id_: str) -> Any:
    said = await stage.one("SELECT df.retry_instance(%s)", (id_,))
    assert said == f"Instance {id_} resumed where it failed"
    return await stage.outcome(id_)


@pytest.mark.parametrize(
    ("program", "before", "after"),
    [
        # sequence, and names from before
        (
            "'SELECT 5 AS five' |=> 'a' ~> " + NOTE.format("one") + " ~> " + RISKY + " ~> "
            "$$INSERT INTO effects (what) VALUES ('got ' || $a)$$",
            ["one"],
            ["risky", "got 5"],
        ),
        # both branches of a join: the one that was done stays done
        (
            NOTE.format("left") + " & (" + NOTE.format("mid") + " ~> " + RISKY + ")",
            ["left", "mid"],
            ["risky"],
        ),
        # two failing branches
        (RISKY + " & " + RISKY, [], ["risky", "risky"]),
        # the condition of a choice, and an arm
        (RISKY + " ?> " + NOTE.format("yes") + " !> " + NOTE.format("no"), [], ["risky", "yes"]),
        ("'SELECT true' ?> (" + NOTE.format("yes") + " ~> " + RISKY + ") !> 'SELECT 1'", ["yes"], ["risky"]),
        # inside the second iteration of a loop, with a name that the first one bound
        (
            "df.loop($$INSERT INTO effects (what) VALUES ('turn') RETURNING n$$ |=> 't' ~> "
            "$$SELECT 1 / (CASE WHEN (SELECT count(*) FROM effects WHERE what = 'turn') = 2"
            " THEN (SELECT n FROM cure) ELSE 1 END)$$, $$SELECT $t < 3$$)",
            ["turn", "turn"],
            ["turn"],
        ),
        # the condition of a loop
        (
            "df.loop("
            + NOTE.format("body")
            + ", $$SELECT 1 / (SELECT n FROM cure) > 1$$) ~> "
            + NOTE.format("end"),
            ["body"],
            ["end"],
        ),
        # a loop inside a branch, and a race
        (
            "(df.loop("
            + NOTE.format("body")
            + " ~> "
            + RISKY
            + ", 'SELECT false') & 'SELECT 1') ~> 'SELECT 2'",
            ["body"],
            ["risky"],
        ),
        ("(" + NOTE.format("first") + " ~> " + RISKY + ") | df.sleep(3600)", ["first"], ["risky"]),
    ],
)
async def test_p2_it_goes_on_at_the_step_that_failed(
    sick: Stage, program: str, before: list[str], after: list[str]
) -> None:
    failed = await sick.run(program)
    assert "division by zero" in failed.error
    assert sorted(await effects(sick)) == sorted(before)
    again = await retried(sick, failed.id)  # nothing was cured: it fails at the same step
    assert "division by zero" in again.error
    assert sorted(await effects(sick)) == sorted(before)
    await heal(sick)
    assert (await retried(sick, failed.id)).status == "completed"
    assert sorted(await effects(sick)) == sorted(before + after)
    shown = await sick.sql("SELECT DISTINCT inferred_status FROM df.instance_nodes(%s)", (failed.id,))
    assert {status for (status,) in shown} <= {"completed", "skipped"}


async def test_what_the_row_says_while_it_runs_again(sick: Stage) -> None:
    failed = await sick.run(RISKY)
    await sick.sql("UPDATE df.instances SET updated_at = NULL")  # a column that roles may write
    session = await sick.connect(autocommit=False)
    await session.execute("SELECT df.retry_instance(%s)", (failed.id,))
    cursor = await session.execute(
        "SELECT status, output, completed_at, due IS NOT NULL, worker, setbacks, updated_at IS NOT NULL"
        " FROM df.instances"
    )
    assert await cursor.fetchone() == ("running", None, None, True, None, 0, True)
    assert await (await session.execute("SELECT df.error(%s)", (failed.id,))).fetchone() == (None,)
    await session.rollback()


async def test_p5_rolled_back_it_stays_failed(sick: Stage) -> None:
    failed = await sick.run(NOTE.format("one") + " ~> " + RISKY)
    before = await sick.journal(failed.id)
    session = await sick.connect(autocommit=False)
    await session.execute("SELECT df.retry_instance(%s)", (failed.id,))
    await session.rollback()
    assert await sick.journal(failed.id) == before
    assert (await sick.outcome(failed.id)).status == "failed"


async def test_p4_a_worker_that_dies_right_after_it_loses_nothing(stage: Stage) -> None:
    """The journal that the verb leaves is one that any worker can take up."""
    await stage.sql("CREATE TABLE cure (n integer)")
    await stage.sql("INSERT INTO cure VALUES (0)")
    async with stage.worker():
        failed = await stage.run(
            NOTE.format("one") + " ~> " + RISKY + " ~> df.sleep(1) ~> " + NOTE.format("end")
        )
    await heal(stage)
    await stage.one("SELECT df.retry_instance(%s)", (failed.id,))
    async with stage.worker():
        await stage.until_parked(failed.id)
    async with stage.worker():
        assert (await stage.outcome(failed.id)).status == "completed"
    assert await effects(stage) == ["one", "risky", "end"]


async def test_a_loop_at_its_limit_goes_on_once_the_limit_is_raised(stage: Stage) -> None:
    await stage.setting("loop_max_iterations", "3")
    program = "'SELECT 1' ~> df.loop(" + NOTE.format("turn") + " ~> 'SELECT 1', 'SELECT true')"
    async with stage.worker():
        failed = await stage.run(program)
        assert "maximum iteration count of 3" in failed.error
        again = await retried(stage, failed.id)
        assert "maximum iteration count of 3" in again.error
    assert len(await effects(stage)) == 3
    await stage.setting("loop_max_iterations", "5")
    async with stage.worker():
        assert "maximum iteration count of 5" in (await retried(stage, failed.id)).error
    assert len(await effects(stage)) == 5
    shown = await stage.sql("SELECT node_id FROM df.instance_nodes(%s) WHERE status = 'failed'", (failed.id,))
    assert {node for (node,) in shown} == {"00000000", "00000002"}


async def test_a_break_outside_any_loop_breaks_again(working: Stage) -> None:
    failed = await working.run(NOTE.format("one") + " ~> df.break('{\"a\": 1}')")
    assert "df.break" in failed.error
    assert "df.break" in (await retried(working, failed.id)).error
    assert await effects(working) == ["one"]


async def test_an_instance_that_was_refused_is_tried_again(stage: Stage) -> None:
    """It failed before any of its steps, so nothing has to be taken back."""
    id_ = await stage.start("SELECT 1")
    await stage.admin(f'ALTER ROLE "{stage.role}" NOLOGIN')
    async with stage.worker("postgres"):
        await stage.until("SELECT status = 'failed' FROM df.instances WHERE id = %s", (id_,), "postgres")
        await stage.admin(f'ALTER ROLE "{stage.role}" LOGIN')
        assert (await retried(stage, id_)).status == "completed"


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("pending", "It goes on by itself"),
        ("running", "df.cancel"),
        ("paused", "df.resume"),
        ("completed", "df.fork"),
        ("cancelled", "df.fork"),
        ("compensated", "was undone"),
    ],
)
async def test_anything_else_is_refused_with_what_to_do(stage: Stage, status: str, hint: str) -> None:
    id_ = await stage.start("SELECT 1")
    await stage.admin(f"UPDATE df.instances SET status = '{status}', worker = NULL")
    with pytest.raises(
        errors.ObjectNotInPrerequisiteState, match=f"cannot retry instance {id_}: it is {status}"
    ) as raised:
        await stage.one("SELECT df.retry_instance(%s)", (id_,))
    assert hint in (raised.value.diag.message_hint or "")


async def test_a_key_that_was_given_away_is_not_taken_back(sick: Stage) -> None:
    id_ = await sick.start_expression(RISKY + ", key => 'k'")
    await sick.outcome(id_)
    holder = await sick.start_expression("df.sleep(3600), key => 'k'")
    with pytest.raises(errors.UniqueViolation, match=f"its key is taken by instance {holder}"):
        await sick.one("SELECT df.retry_instance(%s)", (id_,))
    await sick.one("SELECT df.cancel(%s)", (holder,))
    await heal(sick)
    assert (await retried(sick, id_)).status == "completed"


async def test_p6_what_a_role_writes_into_status_itself_harms_only_itself(sick: Stage) -> None:
    """Status is a column that roles may write; the engine's fence is another."""
    id_ = await sick.start_expression("df.wait_for_signal('go') ~> " + NOTE.format("after"))
    await sick.until_parked(id_)
    await sick.sql("UPDATE df.instances SET status = 'failed' WHERE id = %s", (id_,))
    await sick.one("SELECT df.retry_instance(%s)", (id_,))
    await sick.one("SELECT df.signal(%s, 'go')", (id_,))
    assert (await sick.outcome(id_)).status == "completed"
    assert await effects(sick) == ["after"]
