"""The execution differences that a run decides: E5-E8, E11, E12, E14; and what runs at least once (P2)."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import Stage


async def test_a_join_merges_only_what_its_branches_bind(working: Stage) -> None:
    """E5: the second branch inherited x and did not touch it."""
    outcome = await working.run(
        "'SELECT 1' |=> 'x' ~> (('SELECT 2' |=> 'x') & 'SELECT 0') ~> 'SELECT $x AS x'"
    )
    assert outcome.value["rows"] == [{"x": 2}]


@pytest.mark.parametrize("prefix", ["", "'SELECT 0' ~> "])
async def test_loops_keep_names(working: Stage, prefix: str) -> None:
    """E6: the root loop too."""
    await working.sql("CREATE SEQUENCE turns")
    outcome = await working.run(
        f"{prefix}df.loop('SELECT nextval(''turns'') AS n' |=> 'n' ~> "
        "df.if('SELECT $n > 1', df.break('$first'), 'SELECT $n AS first' |=> 'first'))"
    )
    assert outcome.value == 1


async def test_loops_have_no_floor(working: Stage) -> None:
    """E7: the reference takes a second per iteration; 200 would outlast this test's patience."""
    await working.sql("CREATE SEQUENCE turns")
    outcome = await working.run("df.loop('SELECT 1', 'SELECT nextval(''turns'') < 200')")
    assert outcome.status == "completed"
    assert await working.one("SELECT count(*) FROM df.journal") <= 3


async def test_a_cap_on_iterations_is_a_setting(stage: Stage) -> None:
    """E7."""
    await stage.setting("loop_max_iterations", "5")
    async with stage.worker():
        outcome = await stage.run("df.loop('INSERT INTO effects (what) VALUES (1)')")
    assert outcome.error.startswith("Loop exceeded maximum iteration count of 5.")
    assert await stage.one("SELECT count(*) FROM effects") == 5


async def test_a_floor_under_iterations_is_a_setting(stage: Stage) -> None:
    """E7: the database's own times of the iterations are the judge."""
    await stage.setting("loop_min_interval", "0.3")
    await stage.sql("CREATE TABLE turns (at timestamptz DEFAULT clock_timestamp())")
    async with stage.worker():
        await stage.run("df.loop('INSERT INTO turns DEFAULT VALUES', 'SELECT count(*) < 4 FROM turns')")
    gaps = "SELECT at - lag(at) OVER (ORDER BY at) AS gap FROM turns"
    assert await stage.one(f"SELECT min(gap) >= '0.25 s' FROM ({gaps}) t") is True


async def test_a_step_may_take_as_long_as_the_setting_says_unless_its_role_says_more(stage: Stage) -> None:
    """E13."""
    await stage.setting("step_statement_timeout", "100")
    async with stage.worker():
        outcome = await stage.run("'SELECT pg_sleep(60)'")
        assert "canceling statement due to statement timeout" in outcome.error
        assert (await stage.run("'SELECT 1'")).status == "completed"
    await stage.sql(f'ALTER ROLE "{stage.role}" SET statement_timeout = 77777')
    async with stage.worker():
        outcome = await stage.run("'SHOW statement_timeout'")
        assert outcome.value["rows"] == [{"statement_timeout": "77777ms"}]


async def test_several_workers_share_the_work(stage: Stage) -> None:
    """E8: more slow steps at a time than any of them may have."""
    async with stage.worker(concurrency=3), stage.worker(concurrency=3), stage.worker(concurrency=3):
        ids = [await stage.start("SELECT pg_sleep(1) /* shared */") for _ in range(9)]
        await stage.until(
            "SELECT count(*) >= 7 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%shared%%'",
            (), "postgres",
        )  # fmt: skip
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}


async def test_the_starters_search_path(working: Stage) -> None:
    """E11, in every step, on sessions that had another before."""
    await working.admin(f'GRANT CREATE ON DATABASE {working.database.name} TO "{working.role}"')
    for name in ("one", "two"):
        await working.sql(f"CREATE SCHEMA {name}")
        await working.sql(f"CREATE TABLE {name}.here AS SELECT '{name}'::text AS place")
    for _ in range(2):
        for name in ("one", "two"):
            connection = await working.connect()
            await connection.execute(f"SET search_path = {name}, public".encode())
            cursor = await connection.execute(
                "SELECT df.start('SELECT place FROM here' |=> 'a' ~> 'SELECT place, $a AS a FROM here')"
            )
            row = await cursor.fetchone()
            assert row is not None
            assert (await working.outcome(row[0])).value["rows"] == [{"place": name, "a": name}]


async def test_the_error_is_told_where_one_looks(working: Stage) -> None:
    """E12."""
    outcome = await working.run("'SELECT 1 AS n' |=> 'n' ~> 'SELECT nosuch($n)'")
    assert await working.one("SELECT df.error(%s)", (outcome.id,)) == outcome.error
    (value,) = (row[3] for row in await working.journal(outcome.id) if row[2] == "failed" and row[3])
    assert '"sql":"SELECT nosuch(1)"' in value and '"hint":' in value and '"position":8' in value


async def test_variables_and_start_in_one_block(working: Stage) -> None:
    """E14."""
    await working.sql(
        "DO $$ BEGIN PERFORM df.setvar('v', 'set here'); "
        "PERFORM df.start($w$ SELECT '{v}' AS v $w$, 'e14'); END $$"
    )
    id_ = await working.one("SELECT id FROM df.instances WHERE label = 'e14'")
    assert (await working.outcome(id_)).value["rows"] == [{"v": "set here"}]


# -- at least once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [
    "VACUUM effects", "VACUUM (ANALYZE) effects", "CREATE INDEX CONCURRENTLY effects_what ON effects (what)",
    "REINDEX TABLE CONCURRENTLY effects",
])  # fmt: skip
async def test_what_refuses_transactions_runs_with_a_started_row(stage: Stage, statement: str) -> None:
    """P2: at least once; the journal says that it was begun before it is."""
    lock = await stage.connect(autocommit=False)
    await lock.execute("LOCK TABLE effects IN ACCESS EXCLUSIVE MODE")
    async with stage.worker():
        id_ = await stage.start_expression(f"'SELECT 1' ~> '{statement}' ~> 'SELECT 5 AS n'")
        await stage.until(
            "SELECT count(*) = 1 FROM df.journal "
            "WHERE instance_id = %s AND state = 'started' AND attempts = 1",
            (id_,),
        )
        await lock.commit()
        outcome = await stage.outcome(id_)
    assert outcome.value["rows"] == [{"n": 5}]
    assert {row[2] for row in await stage.journal(id_)} == {"done"}


async def test_a_procedure_that_commits_itself(working: Stage) -> None:
    """It is tried in a transaction first, where PostgreSQL refuses its COMMIT and undoes the attempt."""
    await working.sql(
        "CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO effects (what) VALUES ('1');"
        " COMMIT; INSERT INTO effects (what) VALUES ('2'); COMMIT; END $$"
    )
    outcome = await working.run("'SELECT 1' ~> 'CALL committing()' ~> 'SELECT 5 AS n'")
    assert outcome.value["rows"] == [{"n": 5}]
    assert await working.sql("SELECT what FROM effects ORDER BY n") == [("1",), ("2",)]


async def test_a_second_attempt_is_counted(stage: Stage) -> None:
    lock = await stage.connect(autocommit=False)
    await lock.execute("LOCK TABLE effects IN ACCESS EXCLUSIVE MODE")
    id_ = await stage.start("VACUUM effects")
    for attempt in (1, 2):
        async with stage.worker():
            await stage.until(
                "SELECT count(*) = 1 FROM df.journal WHERE instance_id = %s AND attempts = %s", (id_, attempt)
            )
    await lock.commit()
    async with stage.worker():
        assert (await stage.outcome(id_)).status == "completed"


# -- other databases and unusable roles ----------------------------------------------------------------------


async def other_database(stage: Stage, *, with_df: bool) -> str:
    name = f"{stage.database.name}_other"
    template = "durasql_template" if with_df else "template0"
    await stage.admin(f"CREATE DATABASE {name} TEMPLATE {template}")
    admin = stage.database.cluster.superuser_dsn(name)
    import psycopg

    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        await connection.execute(f'CREATE TABLE there (n int); GRANT ALL ON there TO "{stage.role}"'.encode())
        if with_df:
            await connection.execute("SELECT df.grant_usage(%s)", (stage.role,))
    return name


@pytest.mark.parametrize("with_df", [True, False])
async def test_steps_in_another_database(working: Stage, with_df: bool) -> None:
    name = await other_database(working, with_df=with_df)
    try:
        text = "'INSERT INTO there VALUES (1) RETURNING current_database() AS d' ~> "
        text += "'SELECT count(*) AS n FROM there'"
        id_ = await working.one("SELECT df.start(" + text + ", NULL, %s)", (name,))
        assert (await working.outcome(id_)).value["rows"] == [{"n": 1}]
        failing = await working.start("SELECT 1/0", None, name)
        assert "division by zero" in (await working.outcome(failing)).error
        outside = await working.start("VACUUM there", None, name)
        assert (await working.outcome(outside)).status in ("completed", "failed")
        own = await working.start("SELECT current_database() AS d", None, working.database.name)
        assert (await working.outcome(own)).value["rows"] == [{"d": working.database.name}]
    finally:
        await working.admin(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_database_that_is_gone(working: Stage) -> None:
    name = await other_database(working, with_df=False)
    id_ = await working.one("SELECT df.start(df.sleep(1) ~> 'SELECT 1', NULL, %s)", (name,))
    await working.admin(f"DROP DATABASE {name} WITH (FORCE)")
    error = (await working.outcome(id_)).error
    assert error.startswith(f"Failed to connect to database '{name}' as '{working.role}'. Error: ")


async def test_a_role_that_lost_its_login(working: Stage) -> None:
    id_ = await working.start_expression("df.sleep(1) ~> 'SELECT 1'")
    await working.admin(f'ALTER ROLE "{working.role}" NOLOGIN')
    error = (await working.outcome(id_)).error
    expected = f"Failed to connect to database '{working.database.name}' as '{working.role}'. Error: "
    assert error.startswith(expected)
    assert "is not permitted to log in" in error


async def test_a_role_that_is_gone(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1")
    await stage.admin(f'DROP OWNED BY "{stage.role}"')
    await stage.admin(f'DROP ROLE "{stage.role}"')
    async with stage.worker():
        await stage.until("SELECT status = 'failed' FROM df.instances WHERE id = %s", (id_,), "postgres")
    output = await stage.one("SELECT output FROM df.instances WHERE id = %s", (id_,), "postgres")
    assert output == f"Instance {id_}: submitted_by role no longer exists in pg_roles"
    stage.role = "postgres"


async def test_a_role_with_an_odd_name(stage: Stage) -> None:
    await stage.admin('CREATE ROLE "Odd ""näme"" x" LOGIN')
    try:
        await asyncio.to_thread(stage.database.grant_usage, 'Odd "näme" x')
        odd = Stage(stage.database, 'Odd "näme" x')
        async with stage.worker():
            outcome = await odd.run("'SELECT current_user::text AS u'")
        assert outcome.value["rows"] == [{"u": 'Odd "näme" x'}]
    finally:
        await stage.admin('DROP OWNED BY "Odd ""näme"" x"')
        await stage.admin('DROP ROLE IF EXISTS "Odd ""näme"" x"')
