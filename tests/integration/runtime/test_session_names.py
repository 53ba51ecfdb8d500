"""P10: what PostgreSQL shows of a session says which worker runs which instruction of which instance."""

from __future__ import annotations

from .conftest import Stage

NAMES = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"


async def test_a_session_names_worker_instance_and_pc_in_every_step(working: Stage) -> None:
    outcome = await working.run(f"$${NAMES}$$ |=> 'a' ~> $${NAMES}$$ |=> 'b' ~> 'SELECT $a AS a, $b AS b'")
    (row,) = outcome.value["rows"]
    worker = await working.one("SELECT min(id) FROM df.workers", role=working.database.owner)
    assert row == {
        "a": f"durasql step {worker} {outcome.id} pc 0000",
        "b": f"durasql step {worker} {outcome.id} pc 0001",
    }


async def test_a_step_that_names_itself_does_not_name_the_next_one(working: Stage) -> None:
    outcome = await working.run(f"$$SET application_name = 'me'$$ ~> $${NAMES}$$")
    assert outcome.value["rows"][0]["application_name"].endswith(f"{outcome.id} pc 0001")
