"""df.retry_instance and df.fork around retries, timeouts, handlers, cleanups and undos (P2, P4)."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

from .conftest import Stage

NOTE = "$$INSERT INTO effects (what) VALUES ('{}')$$"
RISKY = "$$INSERT INTO effects (what) SELECT '{}' WHERE 1 / (SELECT n FROM cure WHERE of = '{}') > 0$$"
"""Fails with a division by zero until what it is named after is cured."""


def note(what: str) -> str:
    return NOTE.format(what)


def risky(what: str) -> str:
    return RISKY.format(what, what)


@pytest.fixture
async def sick(working: Stage) -> Stage:
    await working.sql("CREATE TABLE cure (of text PRIMARY KEY, n integer)")
    await working.sql("INSERT INTO cure VALUES ('a', 0), ('b', 0)")
    return working


async def heal(stage: Stage, *what: str) -> None:
    await stage.sql("UPDATE cure SET n = 1 WHERE of = ANY (%s)", (list(what),))


async def effects(stage: Stage) -> list[str]:
    return [what for (what,) in await stage.sql("SELECT what FROM effects ORDER BY n")]


async def retried(stage: Stage, id_: str) -> Any:
    await stage.one("SELECT df.retry_instance(%s)", (id_,))
    return await stage.outcome(id_)


@pytest.mark.parametrize(
    ("program", "before", "after"),
    [
        # a handler that failed: what it handles is not done again
        (
            f"df.catch({note('body')} ~> 'SELECT 1/0', {note('handler')} ~> {risky('a')})",
            ["body", "handler"],
            ["a"],
        ),
        # a failure that the handler does not expect
        (f"df.catch({note('body')} ~> {risky('a')}, {note('handler')}, '23505')", ["body"], ["a"]),
        # a body that failed: its cleanup has run and runs again behind it
        (f"df.finally({note('body')} ~> {risky('a')}, {note('clean')})", ["body", "clean"], ["a", "clean"]),
        # a cleanup that failed
        (f"df.finally({note('body')}, {note('clean')} ~> {risky('a')})", ["body", "clean"], ["a"]),
        # a cleanup with a loop in it, which begins anew
        (
            f"df.finally({risky('a')}, df.loop({note('clean')}, $$SELECT count(*) % 2 = 1 FROM effects"
            " WHERE what = 'clean'$$))",
            ["clean", "clean"],
            ["a", "clean", "clean"],
        ),
        # the attempt that failed for good, the earlier ones stay counted
        (
            f"df.retry({note('body')} ~> {risky('a')}, 2, '1 ms', errors => 'any')",
            ["body", "body"],
            ["a"],
        ),
        (f"df.timeout({note('body')} ~> {risky('a')}, '1 h')", ["body"], ["a"]),
        # inside a handler inside a retry inside a loop
        (
            f"df.loop(df.retry(df.catch('SELECT 1/0', {note('handler')} ~> {risky('a')}), 1), 'SELECT false')"
            f" ~> {note('end')}",
            ["handler"],
            ["a", "end"],
        ),
        # the condition of a loop that goes on after failures
        (
            f"df.loop({note('body')} ~> 'SELECT 1/0', {risky('a')} ~> 'SELECT false', true) ~> {note('end')}",
            ["body"],
            ["a", "end"],
        ),
        # behind something that was undone because its scope was left
        (
            f"df.catch(df.with_undo({note('do')}, {note('undo')}) ~> 'SELECT 1/0',"
            f" {note('handler')} ~> {risky('a')})",
            ["do", "undo", "handler"],
            ["a"],
        ),
    ],
)
async def test_p2_it_goes_on_at_the_step_that_failed(
    sick: Stage, program: str, before: list[str], after: list[str]
) -> None:
    failed = await sick.run(program)
    assert "division by zero" in failed.error
    assert await effects(sick) == before
    await heal(sick, "a")
    assert (await retried(sick, failed.id)).status == "completed"
    assert await effects(sick) == before + after
    left = await sick.sql("SELECT DISTINCT inferred_status FROM df.instance_nodes(%s)", (failed.id,))
    assert "running" not in {status for (status,) in left}


async def test_a_timeout_begins_anew(sick: Stage) -> None:
    failed = await sick.run(f"{note('one')} ~> df.timeout(df.wait_for_signal('go'), '1 ms') ~> {note('two')}")
    assert "Timeout" in failed.error
    again = await retried(sick, failed.id)
    assert "Timeout" in again.error
    assert await effects(sick) == ["one"]


async def test_the_runs_own_timeout_does_not(sick: Stage) -> None:
    """It has passed; with it the run would fail again at once."""
    id_ = await sick.start_expression(
        f"{note('one')} ~> df.wait_for_signal('go') ~> {note('two')}, timeout => '1 s'"
    )
    failed = await sick.outcome(id_)
    assert "Timeout" in failed.error
    await sick.one("SELECT df.retry_instance(%s)", (id_,))
    await sick.until_parked(id_)
    assert await sick.one("SELECT policy FROM df.instances WHERE id = %s", (id_,)) is None
    await sick.one("SELECT df.signal(%s, 'go')", (id_,))
    assert (await sick.outcome(id_)).status == "completed"
    assert await effects(sick) == ["one", "two"]


async def test_an_undo_that_failed_is_tried_again(sick: Stage) -> None:
    program = (
        f"df.with_undo({note('do 1')}, {note('undo 1')}) ~> "
        f"df.with_undo({note('do 2')}, {note('undoing 2')} ~> {risky('a')}) ~> 'SELECT 1/0'"
    )
    id_ = await sick.start_expression(program)
    assert (await sick.outcome(id_)).status == "stuck"
    done = ["do 1", "do 2", "undoing 2"]
    assert await effects(sick) == done
    assert (await retried(sick, id_)).status == "stuck"
    assert await effects(sick) == done
    states = "SELECT state FROM df.instance_undos(%s)"
    assert await sick.sql(states, (id_,)) == [("failed",), ("ready",)]
    await heal(sick, "a")
    ended = await retried(sick, id_)
    assert (ended.status, await effects(sick)) == ("compensated", [*done, "a", "undo 1"])
    assert "division by zero" in await sick.one("SELECT df.error(%s)", (id_,))
    assert await sick.sql(states, (id_,)) == [("done",), ("done",)]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="it is compensated"):
        await sick.one("SELECT df.retry_instance(%s)", (id_,))


async def test_an_undo_that_failed_on_the_way_lets_the_run_go_on(sick: Stage) -> None:
    """Here the undo belongs to the body of a handler, and the run is not over behind it."""
    body = f"df.with_undo({note('do')}, {risky('a')}) ~> 'SELECT 1/0'"
    program = f"df.catch({body}, {note('handler')}) ~> {note('end')}"
    id_ = await sick.start_expression(program)
    assert (await sick.outcome(id_)).status == "stuck"
    await heal(sick, "a")
    assert (await retried(sick, id_)).status == "completed"
    assert await effects(sick) == ["do", "a", "handler", "end"]


async def test_a_pause_in_the_middle_of_a_backoff(sick: Stage) -> None:
    id_ = await sick.start_expression(f"df.retry({risky('a')}, 3, '1 s', '1 s', false, 'any')")
    await sick.until_waiting(id_)
    await sick.one("SELECT df.pause(%s)", (id_,))
    await heal(sick, "a")
    await sick.one("SELECT df.resume(%s)", (id_,))
    assert (await sick.outcome(id_)).status == "completed"
    assert await effects(sick) == ["a"]
    rows = await sick.sql("SELECT node_type, attempt, sqlstate FROM df.instance_attempts(%s)", (id_,))
    assert rows == [("RETRY", 1, "22012")]


async def test_what_is_waited_for_is_told(sick: Stage) -> None:
    """P10: the next try and its time, the handler that was taken, the undo."""
    program = (
        f"df.catch('SELECT 1/0', {note('handler')}) ~> df.with_undo({note('do')}, 'SELECT 1') ~> "
        f"df.retry({risky('a')}, 5, '1 h', '1 h', false, 'any')"
    )
    id_ = await sick.start_expression(program)
    await sick.until_parked(id_)
    assert await sick.sql("SELECT kind, waits_for FROM df.waiting") == [("backoff", "retry 2 of 5")]
    tree = await sick.one("SELECT df.explain(%s)", (id_,))
    for words in ("(handled: SQL execution failed: ", "(can be undone) ✓", "(retry 2 of 5 at "):
        assert words in tree, tree
    await sick.one("SELECT df.cancel(%s)", (id_,))


async def test_a_run_of_its_own_policy_tells_its_tries(sick: Stage) -> None:
    id_ = await sick.start_expression(
        "$q$DO $d$ BEGIN RAISE EXCEPTION 'busy'; END $d$ $q$, max_attempts => 3, backoff => '1 h'"
    )
    await sick.until_parked(id_)
    assert await sick.sql("SELECT kind, waits_for FROM df.waiting") == [("backoff", "retry 2 of 3")]
    (row,) = await sick.sql("SELECT attempt, message, next_at > now() FROM df.instance_attempts(%s)", (id_,))
    assert (row[0], "busy" in row[1], row[2]) == (1, True, True)
    other = sick.database.role()
    assert await sick.sql("SELECT * FROM df.instance_attempts(%s)", (id_,), other) == []
    assert await sick.sql("SELECT * FROM df.instance_undos(%s)", (id_,), other) == []


@pytest.mark.parametrize(
    ("query", "alone"),
    [("%do 2%", ["do 2", "undo 2", "undo 1"]), ("%1/0%", ["undo 2", "undo 1"])],
)
async def test_a_fork_of_what_was_undone_can_be_undone(sick: Stage, query: str, alone: list[str]) -> None:
    """The undos of what came before the step belong to the copy, which fails like the original."""
    program = (
        f"df.with_undo({note('do 1')}, {note('undo 1')}) ~> df.with_undo({note('do 2')}, {note('undo 2')})"
        " ~> 'SELECT 1/0'"
    )
    first = await sick.start_expression(program)
    assert (await sick.outcome(first)).status == "compensated"
    done = await effects(sick)
    assert done == ["do 1", "do 2", "undo 2", "undo 1"]
    node = await sick.one("SELECT node_id FROM df.instance_nodes(%s) WHERE query LIKE %s", (first, query))
    copy = await sick.one("SELECT df.fork(%s, %s)", (first, node))
    assert (await sick.outcome(copy)).status == "compensated"
    assert (await effects(sick))[4:] == alone


async def test_undo_steps_are_not_forked(sick: Stage) -> None:
    first = await sick.start_expression(f"df.with_undo({note('do')}, {note('undo')}) ~> 'SELECT 1/0'")
    await sick.outcome(first)
    node = await sick.one("SELECT node_id FROM df.instance_nodes(%s) WHERE query LIKE %s", (first, "%undo%"))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="what is done when something fails"):
        await sick.one("SELECT df.fork(%s, %s)", (first, node))


async def test_a_fork_inside_a_retry_goes_on_in_its_attempt(sick: Stage) -> None:
    program = f"df.retry({note('one')} ~> {risky('a')} ~> {note('two')}, 3, '1 ms', errors => 'any')"
    failed = await sick.run(program)
    assert await effects(sick) == ["one"] * 3
    await heal(sick, "a")
    node = await sick.one(
        "SELECT node_id FROM df.instance_nodes(%s) WHERE query LIKE '%%cure%%'", (failed.id,)
    )
    copy = await sick.one("SELECT df.fork(%s, %s)", (failed.id, node))
    assert (await sick.outcome(copy)).status == "completed"
    assert (await effects(sick))[3:] == ["a", "two"]
    assert await sick.one("SELECT count(*) FROM df.attempts WHERE instance_id = %s", (copy,)) == 2
