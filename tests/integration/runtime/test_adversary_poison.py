"""A hostile role's instances fail alone: whatever they hold, the worker that claims them lives on (P6, P9).

A granted role may register a worker of its own and record what it likes for its own instances; then it
hands them to the worker that serves everybody.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from .conftest import Stage

MANY_DIGITS = "9" * 5000
DEEP = "[" * 5000 + "]" * 5000


class Impostor:
    """A worker that an ordinary role registered by hand."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], number: int) -> None:
        self.connection = connection
        self.number = number

    @classmethod
    async def enter(cls, stage: Stage, role: str | None = None) -> Impostor:
        connection = await stage.connect(role)
        row = await (await connection.execute("SELECT df._hello('w', 'h', 1, '0', 'token')")).fetchone()
        assert row is not None
        return cls(connection, row[0])

    async def claim(self, id_: str) -> int:
        query = "SELECT epoch FROM df._claim(%s, 'token', 1, %s)"
        row = await (await self.connection.execute(query, (self.number, id_))).fetchone()
        assert row is not None
        return int(row[0])

    async def record(self, id_: str, *rows: dict[str, Any], **rest: Any) -> None:
        epoch = await self.claim(id_)
        await self.connection.execute(
            "SELECT df._record(%s, 'token', %s, %s, %s::json)", (self.number, id_, epoch, json.dumps(rows))
        )

    async def let_go(self, id_: str) -> None:
        await self.connection.execute("SELECT df._release(%s, 'token', ARRAY[%s])", (self.number, id_))


def row(**members: Any) -> dict[str, Any]:
    return {"node": 0, "gen": "", "seq": 1, "state": "done", "value": "1", **members}


FORGED = {
    "a node that is not there": [row(node=77)],
    "a negative node": [row(node=-1)],
    "no JSON": [row(value="{{{")],
    "no error object": [row(state="failed", value="[1]")],
    "a generation that is none": [row(gen="x.y")],
    "a generation of many digits": [row(gen=MANY_DIGITS)],
    "names that are none": [row(state="looping", gen="2", names=DEEP)],
    "columns that are none": [row(columns="[1]")],
    "a number of many digits": [row(value=MANY_DIGITS)],
    "deep nesting": [row(value=DEEP)],
    "a negative sequence": [row(seq=-9)],
    "half a surrogate pair": [row(value='"\\ud800"')],
    "a wait of something else": [row(state="waiting", value="no such signal")],
    "attempts beyond counting": [row(state="started", attempts=2147483647)],
    "a far deadline": [row(state="waiting", due="9998-12-31T23:59:59Z")],
}  # fmt: skip
PROGRAMS = ("'SELECT 1 AS a' ~> 'SELECT 2'", "df.loop('SELECT 1 AS a', 'SELECT false')", "df.sleep(0)")


async def alive(stage: Stage) -> bool:
    """Whether somebody else's workflow gets through."""
    other = Stage(stage.database, stage.database.role("other"))
    return (await other.run("'SELECT 1 AS a' ~> df.sleep(0)")).status == "completed"


async def test_forged_journals_fail_only_their_instance(stage: Stage) -> None:
    impostor = await Impostor.enter(stage)
    ids = []
    for rows in FORGED.values():
        for program in PROGRAMS:
            ids.append(await stage.start_expression(program))
            await impostor.record(ids[-1], *rows)
    for id_ in ids:
        await impostor.let_go(id_)
    async with stage.worker() as worker:
        assert await alive(stage)
        for id_ in ids:
            await stage.until("SELECT epoch > 2 AND worker IS NULL FROM df.instances WHERE id = %s", (id_,))
        assert not worker._stopping.is_set()


@pytest.mark.parametrize("due", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC", "0001-01-01"])
async def test_deadlines_beyond_the_calendar_are_refused(stage: Stage, due: str) -> None:
    """Neither Python nor PostgreSQL before 17 can reckon with them."""
    impostor = await Impostor.enter(stage)
    id_ = await stage.start_expression("df.sleep(1)")
    with pytest.raises(psycopg.errors.CheckViolation):
        await impostor.record(id_, row(state="waiting", value=None, due=due))


async def test_a_sleep_to_the_end_of_time_fails_alone(stage: Stage) -> None:
    async with stage.worker():
        for seconds in (250_000_000_000, 251_600_000_000, 10**15):
            id_ = await stage.start_expression(f"df.sleep({seconds})")
            await stage.until("SELECT epoch > 0 AND worker IS NULL FROM df.instances WHERE id = %s", (id_,))
        assert await alive(stage)


async def test_an_instance_of_no_program_fails_alone(stage: Stage) -> None:
    await stage.sql("INSERT INTO df.instances (program) VALUES ('nothing'), (%s)", ("x" * 100_000,))
    async with stage.worker():
        assert await alive(stage)
        await stage.until("SELECT bool_and(status = 'failed') FROM df.instances")
    outputs = await stage.sql("SELECT output FROM df.instances")
    assert all("has stored no program" in output and len(output) < 1000 for (output,) in outputs)


@pytest.mark.parametrize(
    "vars_", [f'{{"a":{MANY_DIGITS}}}', '{"a":' + DEEP + "}", "[1]", "7", '{"a":{"b":1}}', '{"a":null}']
)
async def test_variables_made_by_hand(stage: Stage, vars_: str) -> None:
    await stage.start("SELECT '{a}' AS a")
    (program,) = (await stage.sql("SELECT hash FROM df.programs"))[0]
    try:
        await stage.sql("INSERT INTO df.instances (program, vars) VALUES (%s, %s::jsonb)", (program, vars_))
    except psycopg.errors.CheckViolation:
        return
    async with stage.worker():
        assert await alive(stage)
        await stage.until("SELECT bool_and(status IN ('completed', 'failed')) FROM df.instances")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("search_path", '"'),
        ("search_path", "x" * 100_000),
        ("database", "a=b host=/tmp"),
        ("database", "postgres://127.0.0.1:1/x"),
        ("label", "y" * 100_000),
    ],
)
async def test_columns_made_by_hand(stage: Stage, column: str, value: str) -> None:
    await stage.start("SELECT 1 AS a")
    (program,) = (await stage.sql("SELECT hash FROM df.programs"))[0]
    try:
        await stage.sql(f"INSERT INTO df.instances (program, {column}) VALUES (%s, %s)", (program, value))
    except (psycopg.errors.CheckViolation, psycopg.errors.ProgramLimitExceeded):
        return
    async with stage.worker():
        assert await alive(stage)
        await stage.until("SELECT bool_and(status IN ('completed', 'failed')) FROM df.instances")


CODES = [
    "",
    "{}",
    "[" * 4000,
    '{"format":1,"hash":"x","nodes":[],"code":[]}',
    '{"format":1,"hash":"x","nodes":[{"t":"SQL","q":"SELECT 1"}],"code":[["SQL",0,{"bind":{}}],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"SQL","q":7}],"code":[["SQL",0],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"SQL","q":"SELECT 1"}],"code":[["SQL",1e400],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"SLEEP","q":"x"}],"code":[["SLEEP",0],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"LOOP","l":1},{"t":"SQL","q":"SELECT 1","p":0}],'
    '"code":[["LOOP",0,{"pc":2}],["NEXT",0,{"pc":0}],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"LOOP","l":1},{"t":"SQL","q":"SELECT 1","p":0}],'
    '"code":[["NEXT",0,{"pc":1.5}],["END",0]]}',
    '{"format":1,"hash":"x","nodes":[{"t":"JOIN","l":1,"r":2},{"t":"SQL","q":"SELECT 1","p":0},'
    '{"t":"SQL","q":"SELECT 1","p":1}],'
    '"code":[["JOIN",0,{"pcs":[1,1],"pc":2}],["SQL",1],["END",0]]}',
]  # fmt: skip


@pytest.mark.parametrize("code", CODES)
async def test_bytecode_made_by_hand(stage: Stage, code: str) -> None:
    impostor = await Impostor.enter(stage)
    id_ = await stage.start("SELECT 1 AS a")
    await impostor.connection.execute(
        "SELECT df._store_code(%s, 'token', owner::oid, hash, 1, %s) FROM df.programs",
        (impostor.number, code),
    )
    async with stage.worker():
        assert await alive(stage)
        await stage.until("SELECT status IN ('completed', 'failed') FROM df.instances WHERE id = %s", (id_,))


async def test_more_letters_than_a_claim_can_carry_fail_only_their_instance(stage: Stage) -> None:
    await stage.setting("max_instance_bytes", "100000")
    waiting = await stage.start_expression("df.wait_for_signal('go')")
    fresh = await stage.start_expression("df.wait_for_signal('go')")
    await stage.sql("SELECT df.signal(%s, 'other', repeat('x', 200000))", (fresh,))
    async with stage.worker():
        await stage.until_parked(waiting)
        await stage.sql("SELECT df.signal(%s, 'go', repeat('x', 200000))", (waiting,))
        for id_ in (waiting, fresh):
            assert "max_instance_bytes" in (await stage.outcome(id_)).error
        assert await alive(stage)


async def test_a_journal_too_heavy_to_be_taken_up_again_fails_only_its_instance(stage: Stage) -> None:
    await stage.setting("max_instance_bytes", "100000")
    async with stage.worker():
        id_ = await stage.start_expression("'SELECT repeat(''x'', 200000)' ~> df.sleep(1)")
        assert "max_instance_bytes" in (await stage.outcome(id_)).error
        assert await alive(stage)


async def test_signals_have_a_largest_size(stage: Stage) -> None:
    id_ = await stage.start_expression("df.wait_for_signal('go')")
    with pytest.raises(psycopg.errors.CheckViolation):
        await stage.sql("SELECT df.signal(%s, 'go', repeat('x', 16777217))", (id_,))


async def test_what_its_workers_are_always_lost_of_has_to_wait(stage: Stage) -> None:
    """An instance that kills whoever takes it must not keep all workers down; progress redeems it."""
    id_ = await stage.start("SELECT 1 AS a")
    reaper = await Impostor.enter(stage, stage.database.owner)
    waits = []
    for round_ in range(9):
        victim = await Impostor.enter(stage, stage.database.owner)
        await stage.admin("UPDATE df.instances SET due = now()")
        await victim.claim(id_)
        if round_ == 7:
            await stage.admin(
                f"INSERT INTO df.journal (instance_id, node, seq, state) VALUES ('{id_}', 5, 9, 'done')"
            )
        await stage.admin(f"UPDATE df._workers SET heartbeat = '-infinity' WHERE id = {victim.number}")
        await reaper.connection.execute("SELECT df._reap(%s, 'token')", (reaper.number,))
        waits.append(await stage.one("SELECT (due > clock_timestamp() + '1 s') FROM df.instances"))
    assert waits == [False] * 5 + [True, True, False, False]


async def test_retention_by_an_ordinary_role_is_about_its_own(stage: Stage) -> None:
    """It may leave the transaction open, so it must not touch anything of others."""
    other = Stage(stage.database, stage.database.role("other"))
    async with stage.worker():
        mine = await stage.run("'SELECT 1 AS a'")
        theirs = await other.run("'SELECT 1 AS a'")
    await stage.setting("retention_count", "0")
    connection = await stage.connect(autocommit=False)
    assert await (await connection.execute("SELECT instances FROM df.prune()")).fetchone() == (1,)
    await connection.execute("SELECT pg_advisory_lock(1684430711, -1)")
    assert await stage.sql("SELECT instances FROM df.prune()", role=stage.database.owner) == [(1,)]
    assert await stage.sql("SELECT id FROM df.instances", role="postgres") == [(mine.id,)] != [(theirs.id,)]


async def test_an_error_of_many_words_is_cut_off(stage: Stage) -> None:
    """P9: it goes into the row of every composite around the step."""
    async with stage.worker():
        outcome = await stage.run(
            "'DO $$BEGIN RAISE EXCEPTION ''%'', repeat(''é'', 2000000); END$$' & 'SELECT 1'"
        )
        assert len(outcome.error) < 70_000 and "4000000 bytes in all" in outcome.error
