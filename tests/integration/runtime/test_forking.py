"""df.fork: a copy of an instance goes on from one of its steps, with all that came before it (P2, P5, P6)."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

from .conftest import Stage

NOTE = "$$INSERT INTO effects (what) VALUES ('{}')$$"


async def effects(stage: Stage) -> list[str]:
    return [what for (what,) in await stage.sql("SELECT what FROM effects ORDER BY n")]


async def forked(stage: Stage, id_: str, node: str) -> Any:
    """How a copy ends, and which effects it alone had."""
    before = len(await effects(stage))
    made = await stage.one("SELECT df.fork(%s, %s)", (id_, node))
    assert made != id_
    outcome = await stage.outcome(made)
    return outcome, (await effects(stage))[before:]


SEQUENCE = (
    "$$INSERT INTO effects (what) VALUES ('one') RETURNING 41 AS x$$ |=> 'a' ~> "
    + NOTE.format("two")
    + " ~> $$INSERT INTO effects (what) SELECT 'three ' || $a$$ ~> 'SELECT $a + 1 AS x'"
)


@pytest.mark.parametrize(
    ("node", "alone"),
    [
        ("00000000", ["one", "two", "three 41"]),
        ("00000003", ["one", "two", "three 41"]),
        ("00000004", ["two", "three 41"]),
        ("00000005", ["three 41"]),
        ("00000006", []),
    ],
)
async def test_p2_what_came_before_is_kept_and_not_done_again(
    working: Stage, node: str, alone: list[str]
) -> None:
    first = await working.run(SEQUENCE)
    outcome, effects_of_copy = await forked(working, first.id, node)
    assert outcome.value == first.value
    assert effects_of_copy == alone
    assert await working.journal(first.id)  # the origin is as it was
    assert await working.sql("SELECT origin, node FROM df.forks") == [(first.id, int(node, 16))]


async def test_the_copy_is_of_the_same_make(working: Stage) -> None:
    await working.sql("SELECT df.setvar('day', 'monday')")
    made = await working.one(
        "SELECT df.start('SELECT ''{day}'' AS day' ~> 'SELECT 1', 'nightly', max_attempts => 3,"
        " timeout => '1 h', key => 'k') FROM set_config('search_path', 'public, elsewhere', false)"
    )
    await working.outcome(made)
    await working.sql("SELECT df.setvar('day', 'tuesday')")
    copy = await working.one("SELECT df.fork(%s, '00000001')", (made,))
    await working.outcome(copy)
    columns = "label, database, program, search_path, vars, policy - 'deadline', key"
    ((label, database, program, path, variables, policy, key),) = await working.sql(
        f"SELECT {columns} FROM df.instances WHERE id = %s", (copy,)
    )
    origin = (await working.sql(f"SELECT {columns} FROM df.instances WHERE id = %s", (made,)))[0]
    assert (label, database, program, path, variables, policy) == origin[:-1]
    assert (label, variables, policy) == ("nightly", {"day": "monday"}, {"max_attempts": 3})
    assert (key, origin[-1]) == (None, "k")  # the original may still have it
    hour = "SELECT (policy->>'deadline')::timestamptz - created_at = interval '1 h' FROM df.instances"
    assert await working.sql(hour) == [(True,), (True,)]


async def test_a_failed_instance_is_forked_at_or_before_the_step_that_failed(working: Stage) -> None:
    await working.sql("CREATE TABLE cure (n integer)")
    await working.sql("INSERT INTO cure VALUES (0)")
    failed = await working.run(NOTE.format("one") + " ~> 'SELECT 1 / (SELECT n FROM cure) AS q'")
    assert failed.status == "failed"
    await working.sql("UPDATE cure SET n = 1")
    outcome, alone = await forked(working, failed.id, "00000002")
    assert (outcome.value["rows"], alone) == ([{"q": 1}], [])
    assert (await working.outcome(failed.id)).status == "failed"


async def test_a_step_of_a_loop_is_forked_in_its_latest_iteration(working: Stage) -> None:
    """With the names that the iterations before had bound."""
    program = (
        "df.loop($$INSERT INTO effects (what) VALUES ('turn') RETURNING n$$ |=> 't' ~> "
        "$$INSERT INTO effects (what) VALUES ('after ' || $t)$$ |=> 'u', $$SELECT $t < 5$$)"
        " ~> 'SELECT $t AS t'"
    )
    first = await working.run(program)
    assert await effects(working) == ["turn", "after 1", "turn", "after 3", "turn", "after 5"]
    outcome, alone = await forked(working, first.id, "00000004")
    assert (outcome.value, alone) == (first.value, ["after 5"])
    outcome, alone = await forked(working, first.id, "00000003")
    assert alone == ["turn", f"after {outcome.value['rows'][0]['t']}"]


async def test_branches_keep_what_they_had_done_by_then(working: Stage) -> None:
    """The other branch had done its first step when the forked one began."""
    program = (
        "(" + NOTE.format("left 1") + " ~> df.wait_for_signal('l') ~> " + NOTE.format("left 2") + ") & "
        "(df.wait_for_signal('r') ~> " + NOTE.format("right") + ")"
    )
    id_ = await working.start_expression(program)
    await working.until_waiting(id_, 2)
    await working.one("SELECT df.signal(%s, 'r')", (id_,))
    await working.until("SELECT count(*) = 2 FROM effects")
    await working.one("SELECT df.signal(%s, 'l')", (id_,))
    await working.outcome(id_)
    right = await working.one(
        "SELECT node_id FROM df.instance_nodes(%s) WHERE query LIKE '%%right%%'", (id_,)
    )
    copy = await working.one("SELECT df.fork(%s, %s)", (id_, right))
    await working.until_waiting(copy)
    await working.one("SELECT df.signal(%s, 'l')", (copy,))  # signals are not copied
    assert (await working.outcome(copy)).status == "completed"
    assert (await effects(working))[3:] == ["right", "left 2"]


async def test_one_that_still_runs_can_be_forked(working: Stage) -> None:
    id_ = await working.start_expression(NOTE.format("one") + " ~> df.wait_for_signal('go')")
    await working.until_parked(id_)
    copy = await working.one("SELECT df.fork(%s, '00000002')", (id_,))
    await working.until_parked(copy)
    for each in (id_, copy):
        await working.one("SELECT df.signal(%s, 'go')", (each,))
        assert (await working.outcome(each)).status == "completed"
    assert await effects(working) == ["one"]


async def test_a_copy_of_a_copy_that_rests(stage: Stage) -> None:
    async with stage.worker():
        first = await stage.run(SEQUENCE)
    copy = await stage.one("SELECT df.fork(%s, '00000006')", (first.id,))
    await stage.one("SELECT df.pause(%s)", (copy,))
    again = await stage.one("SELECT df.fork(%s, '00000005')", (copy,))
    await stage.one("SELECT df.resume(%s)", (copy,))
    async with stage.worker():
        for each in (copy, again):
            assert (await stage.outcome(each)).value == first.value
    assert await effects(stage) == ["one", "two", "three 41", "three 41"]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("00000004", "at node 00000004: it was never reached"),
        ("00000099", "has no node 00000099"),
        ("ffffffff", "has no node ffffffff"),
        ("4", "has no node 4"),
        ("'; --", "has no node"),
    ],
)
async def test_a_step_that_was_never_reached_is_refused(working: Stage, node: str, message: str) -> None:
    first = await working.run("'SELECT true' ?> 'SELECT 1' !> ('SELECT 2' ~> 'SELECT 3')")
    with pytest.raises(
        (errors.ObjectNotInPrerequisiteState, errors.InvalidParameterValue), match=message
    ) as raised:
        await working.one("SELECT df.fork(%s, %s)", (first.id, node))
    assert "00000000" in (raised.value.diag.message_hint or "")
    assert await working.one("SELECT count(*) FROM df.instances") == 1


async def test_a_step_of_an_iteration_that_is_gone_is_refused(working: Stage) -> None:
    program = (
        "df.loop($$INSERT INTO effects (what) VALUES ('turn') RETURNING n$$ |=> 't' ~> "
        "($$SELECT $t = 1$$ ?> 'SELECT 1' !> 'SELECT 2'), $$SELECT $t < 2$$)"
    )
    first = await working.run(program)
    gone = await working.one(
        "SELECT node_id FROM df.instance_nodes(%s) WHERE query = 'SELECT 1'", (first.id,)
    )
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="earlier iteration of the loop around it"):
        await working.one("SELECT df.fork(%s, %s)", (first.id, gone))


async def test_p5_a_fork_belongs_to_the_transaction(working: Stage) -> None:
    first = await working.run(SEQUENCE)
    session = await working.connect(autocommit=False)
    await session.execute("SELECT df.fork(%s, '00000004')", (first.id,))
    await session.rollback()
    assert await working.one("SELECT count(*) FROM df.instances") == 1
    assert await working.one("SELECT count(*) FROM df.forks") == 0


async def test_p6_only_the_role_that_started_it_forks_it(working: Stage) -> None:
    first = await working.run(SEQUENCE)
    other = working.database.role()
    with pytest.raises(errors.NoDataFound):
        await working.one("SELECT df.fork(%s, '00000004')", (first.id,), other)
    with pytest.raises(errors.InsufficientPrivilege, match="was started by role"):
        await working.one("SELECT df.fork(%s, '00000004')", (first.id,), working.database.owner)


async def test_p6_history_cannot_be_had_by_hand(stage: Stage) -> None:
    """A role may write df.forks; the trigger asks whose both instances are, and of which program."""
    async with stage.worker():
        mine = await stage.run(SEQUENCE)
    other = stage.database.role()
    theirs = await stage.one("SELECT df.start('SELECT 1')", None, other)
    fork = "INSERT INTO df.forks (instance_id, origin, node) VALUES (%s, %s, 0)"
    fresh = await stage.start_expression(SEQUENCE)
    unlike = await stage.start("SELECT 2")
    for values, role in (
        ((theirs, mine.id), other),  # another's history
        ((fresh, mine.id), other),  # into another's instance
        ((unlike, mine.id), stage.role),  # of another program
        ((mine.id, mine.id), stage.role),  # into one that has run
        (("ffffffff", mine.id), stage.role),
    ):
        with pytest.raises((errors.ObjectNotInPrerequisiteState, errors.NoDataFound)):
            await stage.sql(fork, values, role)
    with pytest.raises(errors.InsufficientPrivilege):
        await stage.sql(
            "INSERT INTO df.forks (instance_id, origin, node, forked_by) VALUES (%s, %s, 0, %s)",
            (theirs, mine.id, stage.role),
            other,
        )
    assert await stage.sql("SELECT * FROM df.forks", role=other) == []


async def test_retention_takes_the_note_of_a_fork_with_it(working: Stage) -> None:
    first = await working.run(SEQUENCE)
    await forked(working, first.id, "00000004")
    await working.admin("UPDATE df.instances SET completed_at = now() - interval '1 year'")
    assert await working.sql("SELECT instances FROM df.prune()", role=working.database.owner) == [(2,)]
    assert await working.one("SELECT count(*) FROM df.forks", None, "postgres") == 0
