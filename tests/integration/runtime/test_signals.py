"""E2: signals wait in a durable inbox, in order, until a wait takes them; they join the transaction."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Stage

WAIT = "df.wait_for_signal('go')"


async def send(stage: Stage, id_: str, data: str = "{}", name: str = "go") -> None:
    assert await stage.one("SELECT df.signal(%s, %s, %s)", (id_, name, data)) == "OK"


def data(value: Any) -> Any:
    return {"signal_name": "go", "timed_out": False, "data": value}


async def test_before_the_wait_exists(working: Stage) -> None:
    id_ = await working.start_expression(f"df.sleep(1) ~> {WAIT}")
    await send(working, id_, "1")
    assert (await working.outcome(id_)).value == data(1)


async def test_before_the_first_claim(stage: Stage) -> None:
    """A signal that came before any worker wins its race at once."""
    id_ = await stage.start_expression(f"df.race({WAIT}, 'SELECT pg_sleep(120)')")
    await send(stage, id_, '"early"')
    async with stage.worker():
        assert (await stage.outcome(id_)).value == data("early")


async def test_each_wait_takes_one_in_the_order_of_sending(working: Stage) -> None:
    id_ = await working.start_expression(
        f"df.sleep(1) ~> {WAIT} |=> 'a' ~> {WAIT} |=> 'b' "
        "~> 'SELECT ($a::jsonb->''data'')::text AS a, ($b::jsonb->''data'')::text AS b'"
    )
    for number in ("1", "2", "3"):
        await send(working, id_, number)
    assert (await working.outcome(id_)).value["rows"] == [{"a": "1", "b": "2"}]
    assert await working.one("SELECT count(*) FROM df.signals WHERE instance_id = %s", (id_,)) == 0


async def test_simultaneous_waits_of_one_name_each_get_the_signal(working: Stage) -> None:
    id_ = await working.start_expression(f"{WAIT} & ({WAIT} & df.wait_for_signal('other'))")
    await working.until_waiting(id_, 3)
    await send(working, id_, "7")
    await send(working, id_, "8", "other")
    value = (await working.outcome(id_)).value
    assert value == [data(7), [data(7), {"signal_name": "other", "timed_out": False, "data": 8}]]


async def test_a_parked_instance_wakes_for_its_signal_only(working: Stage) -> None:
    id_ = await working.start_expression(f"{WAIT}")
    await working.until_parked(id_)
    await send(working, id_, "0", "unknown")
    await working.until(
        "SELECT worker IS NULL AND due IS NULL AND epoch > 1 FROM df.instances WHERE id = %s", (id_,)
    )
    await send(working, id_, "1")
    assert (await working.outcome(id_)).value == data(1)


async def test_while_another_branch_works(working: Stage) -> None:
    """The instance is in a worker's hands; the signal does not wait until the step is over."""
    id_ = await working.start_expression(f"df.race({WAIT}, 'SELECT pg_sleep(120) /* beside a wait */')")
    await working.until_active("beside a wait")
    await send(working, id_, "1")
    assert (await working.outcome(id_)).value == data(1)
    await working.until_idle("beside a wait")


async def test_after_a_step_while_another_branch_works(working: Stage) -> None:
    id_ = await working.start_expression(
        f"'SELECT 1' ~> df.race({WAIT}, 'SELECT pg_sleep(120) /* a step later */')"
    )
    await working.until_active("a step later")
    await send(working, id_, "1")
    assert (await working.outcome(id_)).value == data(1)


async def test_in_a_loop_every_turn_takes_the_next(working: Stage) -> None:
    id_ = await working.start_expression(
        f"df.loop({WAIT} |=> 's' ~> 'INSERT INTO effects (what) VALUES (($s::jsonb->''data'')::text)',"
        " 'SELECT count(*) < 20 FROM effects')"
    )
    connection = await working.connect()
    for number in range(20):
        await connection.execute("SELECT df.signal(%s, 'go', %s)", (id_, str(number)))
    assert (await working.outcome(id_)).status == "completed"
    rows = await working.sql("SELECT what FROM effects ORDER BY n")
    assert [row[0] for row in rows] == [str(number) for number in range(20)]


async def test_rolled_back_with_the_sender(working: Stage) -> None:
    id_ = await working.start_expression(f"{WAIT}")
    await working.until_parked(id_)
    connection = await working.connect()
    async with connection.transaction(force_rollback=True):
        await connection.execute("SELECT df.signal(%s, 'go', '1')", (id_,))
    await send(working, id_, "2")
    assert (await working.outcome(id_)).value == data(2)


async def test_delivered_when_the_sender_commits(working: Stage) -> None:
    id_ = await working.start_expression(f"{WAIT}")
    await working.until_parked(id_)
    connection = await working.connect(autocommit=False)
    await connection.execute("SELECT df.signal(%s, 'go', '1')", (id_,))
    assert await working.one("SELECT df.status(%s)", (id_,)) == "running"
    await connection.commit()
    assert (await working.outcome(id_)).value == data(1)


async def test_a_timeout_is_a_normal_end_and_the_late_signal_stays_for_the_next_wait(working: Stage) -> None:
    id_ = await working.start_expression(
        f"df.wait_for_signal('go', 1) |=> 'first' ~> df.wait_for_signal('next') ~> {WAIT}"
    )
    await working.until(
        "SELECT count(*) = 1 FROM df.journal WHERE instance_id = %s AND state = 'done'", (id_,)
    )
    await send(working, id_, "5")
    await send(working, id_, "{}", "next")
    assert (await working.outcome(id_)).value == data(5)


async def test_a_deadline_in_a_loop_survives_a_signal_beside_it(working: Stage) -> None:
    """The loser of one turn's race is armed again in the record that drops it, with its deadline."""
    id_ = await working.start_expression(
        f"df.loop(df.race({WAIT} |=> 's' ~> 'SELECT 1', df.sleep(2) ~> df.break('timeout')))"
    )
    await working.until_parked(id_)
    await send(working, id_)
    assert (await working.outcome(id_)).value == "timeout"


async def test_two_runs_that_signal_each_other(working: Stage) -> None:
    """Their records lock each other's rows; neither may fail for the deadlock."""
    body = (
        "df.loop({wait} ~> 'SELECT df.signal(what, ''go'') FROM effects "
        "WHERE what <> ''{{sys_instance_id}}''' "
        "~> 'INSERT INTO turns VALUES (''{{sys_instance_id}}'')', "
        "'SELECT count(*) < 20 FROM turns WHERE who = ''{{sys_instance_id}}''')"
    ).format(wait="df.wait_for_signal('go', 2)")
    await working.sql("CREATE TABLE turns (who text)")
    ids = [await working.start_expression(body) for _ in range(3)]
    await working.sql("INSERT INTO effects (what) SELECT unnest(%s::text[])", (ids,))
    for id_ in ids:
        await send(working, id_)
    outcomes = [await working.outcome(id_) for id_ in ids]
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes


async def test_one_statement_wakes_many(working: Stage) -> None:
    await working.sql(f"SELECT df.start({WAIT}) FROM generate_series(1, 200)")
    await working.until(
        "SELECT count(*) = 200 FROM df.instances WHERE worker IS NULL AND due IS NULL AND status = 'running'"
    )
    await working.sql("SELECT df.signal(id, 'go', '1') FROM df.instances WHERE status = 'running'")
    await working.until("SELECT count(*) = 200 FROM df.instances WHERE status = 'completed'")


@pytest.mark.parametrize("text", ["plain words", '{"a": 1, "b": "é"}', "", "null", '"quoted"'])
async def test_data_is_json_or_a_string(working: Stage, text: str) -> None:
    import json

    id_ = await working.start_expression(f"{WAIT}")
    await send(working, id_, text)
    try:
        expected = json.loads(text)
    except ValueError:
        expected = text
    assert (await working.outcome(id_)).value == data(expected)


async def test_a_forged_notification_changes_nothing(working: Stage) -> None:
    """Anybody may NOTIFY on the channel; the worker asks the database."""
    id_ = await working.start_expression("'SELECT pg_sleep(1) /* not cancelled */' ~> 'SELECT 1 AS a'")
    await working.until_active("not cancelled")
    for kind in ("c", "s", "x"):
        await working.sql(f"NOTIFY df, '{kind}:{id_}'")
    await working.sql("NOTIFY df, ''")
    assert (await working.outcome(id_)).value["rows"] == [{"a": 1}]
