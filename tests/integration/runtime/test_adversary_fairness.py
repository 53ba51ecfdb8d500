"""One role's backlog does not keep other roles waiting for hours (P6, P9)."""

from __future__ import annotations

from durasql_runtime.places import Places
from durasql_runtime.pool import PoolLimits

from .conftest import Stage


async def test_a_backlog_of_slow_steps_leaves_room_for_others(stage: Stage) -> None:
    others = [Stage(stage.database, stage.database.role("other")) for _ in range(2)]
    slow = [await stage.start("SELECT pg_sleep(600) /* slow */") for _ in range(40)]
    async with stage.worker(concurrency=16, claim_batch=8, pool=PoolLimits(per_role=2, total=6)):
        await stage.until_active("slow")
        for other in others:
            assert (await other.run("'SELECT 1 AS a' ~> df.sleep(0)")).status == "completed"
        await stage.sql("SELECT df.cancel(id) FROM df.instances")
        assert (await stage.outcome(slow[0])).status == "cancelled"


def test_places_are_kept_for_those_who_have_few() -> None:
    places = Places(100, 50)
    while (offer := places.offer()).limit and not offer.but:
        for _ in range(offer.limit):
            places.take(1)
    assert (places.free, offer.limit, offer.but) == (0, 12, (1,))
    for _ in range(6):
        places.take(2)
    assert places.offer().but == (1, 2)
    for _ in range(6):
        places.take(3)
    assert places.offer().limit == 0
    places.give_back(1)
    assert places.offer().but == (1, 2, 3)


def test_a_few_places_are_all_for_anybody() -> None:
    places = Places(1, 50)
    assert (places.offer().limit, places.offer().but) == (1, ())
    places.take(1)
    assert places.offer().limit == 0
