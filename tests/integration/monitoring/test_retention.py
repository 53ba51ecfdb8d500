"""df.prune: what is removed and what never is (E16)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import errors


@pytest.fixture
def past(stories: Any) -> Any:
    """`past(days, status, label)` makes an instance of that age; it returns the id."""

    def make(days: float, status: str = "completed", label: str | None = None) -> str:
        story = stories.start("'SELECT 1'", label).claimed().row(0).ended(status)
        stories.owner.execute(
            "UPDATE df.instances SET created_at = now() - make_interval(secs => %(s)s),"
            " completed_at = completed_at - make_interval(secs => %(s)s) WHERE id = %(id)s",
            {"s": days * 86400, "id": story.id},
        )
        return str(story.id)

    return make


def setting(stories: Any, name: str, value: int) -> None:
    stories.owner.execute(
        "INSERT INTO df.settings (name, value, description) VALUES (%s, %s, '')"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, str(value)),
    )


def left(stories: Any) -> set[str]:
    return {id for (id,) in stories.all("SELECT id FROM df.instances")}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_is_over_and_old_goes_with_its_journal(stories: Any, past: Any, status: str) -> None:
    young, _ = past(29, status), past(31, status)
    assert stories.all("SELECT instances FROM df.prune()") == [(1,)]
    assert left(stories) == {young}
    assert stories.owner.execute("SELECT instance_id FROM df.journal").fetchall() == [(young,)]


@pytest.mark.parametrize("status", ["pending", "running"])
def test_what_is_not_over_stays(stories: Any, past: Any, status: str) -> None:
    old = past(9999, status)
    setting(stories, "retention_days", 0)
    setting(stories, "retention_count", 0)
    assert stories.all("SELECT instances FROM df.prune()") == [(0,)]
    assert left(stories) == {old}


def test_only_the_newest_are_kept(stories: Any, past: Any) -> None:
    ids = [past(day) for day in range(5)]
    setting(stories, "retention_count", 3)
    assert stories.all("SELECT instances FROM df.prune()") == [(2,)]
    assert left(stories) == set(ids[:3])


def test_nothing_is_kept_with_a_count_of_zero(stories: Any, past: Any) -> None:
    past(0.1), past(1)
    setting(stories, "retention_count", 0)
    assert stories.all("SELECT instances FROM df.prune()") == [(2,)]


def test_labels_can_be_kept_longer_or_shorter(stories: Any, past: Any) -> None:
    kept, short, other = past(99, label="audit"), past(2, label="noise"), past(2)
    setting(stories, "retention_days:audit", 365)
    setting(stories, "retention_days:noise", 1)
    assert stories.all("SELECT instances FROM df.prune()") == [(1,)]
    assert left(stories) == {kept, other} != {short}


def test_a_label_can_have_a_count_of_its_own(stories: Any, past: Any) -> None:
    audit = [past(day, label="audit") for day in range(3)]
    others = [past(day) for day in range(3)]
    setting(stories, "retention_count:audit", 1)
    setting(stories, "retention_count", 2)
    stories.all("SELECT df.prune()")
    assert left(stories) == {audit[0], *others[:2]}


def test_one_call_is_one_batch_oldest_first(stories: Any, past: Any) -> None:
    young = [past(day) for day in (31, 32)]
    past(40), past(41)
    assert stories.all("SELECT instances FROM df.prune(2)") == [(2,)]
    assert left(stories) == set(young)


def test_a_batch_must_have_a_size(stories: Any) -> None:
    for size in ("0", "NULL"):
        with pytest.raises(errors.InvalidParameterValue, match="max_instances must be at least 1"):
            stories.all(f"SELECT df.prune({size})")


def test_a_locked_instance_is_left_for_the_next_pass(stories: Any, past: Any) -> None:
    old = past(99)
    with stories.database.connect(autocommit=False) as other:
        other.execute("SELECT FROM df.instances WHERE id = %s FOR UPDATE", (old,))
        assert stories.all("SELECT instances FROM df.prune()") == [(0,)]
    assert stories.all("SELECT instances FROM df.prune()") == [(1,)]


def test_two_passes_do_not_wait_for_each_other(stories: Any, past: Any) -> None:
    past(99)
    with stories.database.connect(autocommit=False) as other:
        assert other.execute("SELECT instances FROM df.prune()").fetchall() == [(1,)]
        assert stories.all("SELECT instances FROM df.prune()") == [(0,)]


class TestPrograms:
    def programs(self, stories: Any) -> int:
        return int(stories.one("SELECT count(*) FROM df.programs"))

    def marked(self, stories: Any, ago: str) -> None:
        stories.owner.execute(f"UPDATE df.programs SET unused_since = now() - interval '{ago}'")

    def test_unused_programs_go_a_day_after_they_were_found(self, stories: Any, past: Any) -> None:
        past(99)
        stories.start("'SELECT 2'")
        assert stories.all("SELECT * FROM df.prune()") == [(1, 0)]
        assert stories.one("SELECT count(*) FROM df.programs WHERE unused_since IS NOT NULL") == 1
        assert stories.all("SELECT * FROM df.prune()") == [(0, 0)]
        self.marked(stories, "25 hours")
        assert stories.all("SELECT * FROM df.prune()") == [(0, 1)]
        assert self.programs(stories) == 1

    @pytest.mark.parametrize("again", ["SELECT 1", '{"node_type":"SQL","query":"SELECT 1"}'])
    def test_a_program_that_is_started_again_stays(self, stories: Any, again: str) -> None:
        stories.start("'SELECT 1'").ended()
        stories.owner.execute("DELETE FROM df.instances")
        self.marked(stories, "25 hours")
        with stories.database.connect(stories.role, autocommit=False) as starter:
            starter.execute("SELECT df.start(%s)", (again,))
            assert stories.all("SELECT programs FROM df.prune()") == [(0,)]
        assert stories.all("SELECT programs FROM df.prune()") == [(0,)]
        assert stories.one("SELECT count(*) FROM df.programs WHERE unused_since IS NULL") == 1

    def test_a_start_never_meets_the_removal_of_its_program(self, stories: Any) -> None:
        """The program is being removed while it is started: the start waits and stores it anew."""
        stories.start("'SELECT 1'").ended()
        stories.owner.execute("DELETE FROM df.instances")
        self.marked(stories, "25 hours")
        with stories.database.connect(stories.role) as starter, ThreadPoolExecutor(1) as aside:
            with stories.database.connect(autocommit=False) as pruner:
                assert pruner.execute("SELECT programs FROM df.prune()").fetchall() == [(1,)]
                waiting = aside.submit(starter.execute, "SELECT df.status(df.start('SELECT 1'))")
                pid = starter.info.backend_pid
                stories.owner.execute(
                    f"DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
                    " LOOP PERFORM pg_sleep(0.001); END LOOP; END $$"
                )
            assert waiting.result().fetchall() == [("pending",)]
        assert self.programs(stories) == 1

    def test_a_program_in_use_loses_no_time_to_its_old_mark(self, stories: Any) -> None:
        stories.start("'SELECT 1'").ended()
        self.marked(stories, "25 hours")
        assert stories.all("SELECT programs FROM df.prune()") == [(0,)]
        assert self.programs(stories) == 1


def test_users_cannot_make_others_instances_go(stories: Any, past: Any) -> None:
    """Age goes by columns that no role can write, and df.prune takes no limits from its caller."""
    young = past(1)
    with pytest.raises(errors.InsufficientPrivilege):
        stories.all("UPDATE df.instances SET completed_at = now() - interval '1 year' RETURNING id")
    stranger = stories.database.role()
    with stories.database.connect(stranger) as connection:
        connection.execute("SELECT df.prune(1000000)")
    assert left(stories) == {young}
