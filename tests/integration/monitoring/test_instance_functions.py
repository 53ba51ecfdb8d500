"""df.instance_info, df.instance_executions, df.metrics, df.waiting, df._worker_epoch."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

FUNCTION = "pg_durable::orchestration::execute-function-graph"


def test_info_of_one_instance(stories: Any) -> None:
    story = stories.start("'SELECT 1'", "mine").claimed()
    assert stories.all("SELECT * FROM df.instance_info(%s)", story.id) == [
        (story.id, "mine", FUNCTION, "1.0.0", 1, "running", None)
    ]


def test_a_label_or_unknown_id_gives_no_info(stories: Any) -> None:
    stories.start("'SELECT 1'", "mine")
    assert stories.all("SELECT * FROM df.instance_info('mine')") == []
    assert stories.all("SELECT * FROM df.instance_executions('mine')") == []


class TestExecutions:
    QUERY = "SELECT * FROM df.instance_executions(%s, %s)"

    def test_a_plain_workflow_has_one(self, stories: Any) -> None:
        story = stories.start("'SELECT 1'").claimed()
        assert stories.all(self.QUERY, story.id, 5) == [(1, "Running", 0, 0, None)]
        story.row(0).ended("completed", "{}")
        ((number, status, events, duration, output),) = stories.all(self.QUERY, story.id, 5)
        assert (number, status, events, output) == (1, "Completed", 1, "{}")
        assert duration >= 0

    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    def test_failed_and_cancelled_are_failed(self, stories: Any, how: str) -> None:
        story = stories.start("'SELECT 1'").claimed()
        if how == "cancelled":
            stories.one("SELECT df.cancel(%s)", story.id)
        else:
            story.failed(0).ended("failed", "boom")
        assert stories.all("SELECT status FROM df.instance_executions(%s)", story.id) == [("Failed",)]

    def test_a_root_loop_has_one_per_round(self, stories: Any) -> None:
        story = stories.start("@> 'SELECT 1'").claimed().row(0, "looping", gen="4")
        found = stories.all("SELECT execution_id, status FROM df.instance_executions(%s, 3)", story.id)
        assert found == [(4, "Running"), (3, "ContinuedAsNew"), (2, "ContinuedAsNew")]
        assert len(stories.all(self.QUERY, story.id, 100)) == 4

    def test_a_limit_below_one_is_refused(self, stories: Any) -> None:
        with pytest.raises(errors.InvalidParameterValue, match="limit_count must be at least 1"):
            stories.all(self.QUERY, "00000000", 0)

    def test_a_huge_limit_is_clamped(self, stories: Any) -> None:
        story = stories.start("@> 'SELECT 1'").claimed().row(0, "looping", gen="20000")
        assert len(stories.all(self.QUERY, story.id, 2_000_000_000)) == 10_000


def test_metrics_count_everybody(stories: Any) -> None:
    stories.start("'SELECT 1'").claimed().row(0).ended("completed")
    stories.start("@> 'SELECT 1'").claimed().row(0, "looping", gen="3")
    other = stories.database.role()
    with stories.database.connect(other) as connection:
        connection.execute("SELECT df.cancel(df.start('SELECT 1'))")
    metrics = stories.owner.execute("SELECT * FROM df.metrics()").fetchall()
    assert metrics == [(3, 1, 1, 1, 5, 2)]


def test_waiting_says_for_what_and_until_when(stories: Any) -> None:
    story = stories.start(
        "df.join3(df.sleep(60), df.wait_for_signal('go', 90), df.wait_for_schedule('0 5 * * *'))", "w"
    ).claimed()
    story.row(1, "waiting").row(2, "waiting", "go").row(3, "waiting")
    stories.owner.execute("UPDATE df.journal SET due = 'tomorrow' WHERE node <> 2")
    found = stories.all(
        "SELECT instance_id, label, node_id, kind, waits_for, until IS NULL FROM df.waiting ORDER BY node_id"
    )
    assert found == [
        (story.id, "w", "00000001", "timer", "60", False),
        (story.id, "w", "00000002", "signal", "go", True),
        (story.id, "w", "00000003", "schedule", "0 5 * * *", False),
    ]


def test_waiting_shows_own_and_running_instances_only(stories: Any) -> None:
    story = stories.start("df.sleep(60)").claimed().row(0, "waiting")
    other = stories.database.role()
    with stories.database.connect(other) as connection:
        assert connection.execute("SELECT * FROM df.waiting").fetchall() == []
    stories.one("SELECT df.cancel(%s)", story.id)
    assert stories.all("SELECT * FROM df.waiting") == []


class TestWorkers:
    def hello(self, stories: Any, name: str, seconds_ago: int = 0) -> None:
        stories.owner.execute(
            "INSERT INTO df._workers (name, host, pid, version, role, token_hash, backend_pid, heartbeat)"
            " VALUES (%s, 'h', 1, '0', current_user::regrole, 'x', 1, now() - make_interval(secs => %s))",
            (name, seconds_ago),
        )

    def test_the_epoch_is_that_of_the_worker_heard_of_last(self, stories: Any) -> None:
        query = "SELECT epoch_id, started_at, last_seen_at FROM df._worker_epoch"
        assert stories.owner.execute(query).fetchall() == []
        self.hello(stories, "old", 20)
        self.hello(stories, "new")
        wanted = stories.owner.execute(
            "SELECT epoch_id, started_at, heartbeat FROM df.workers WHERE name = 'new'"
        ).fetchall()
        assert stories.owner.execute(query).fetchall() == wanted

    def test_administrators_see_workers_but_not_their_secrets(self, stories: Any) -> None:
        self.hello(stories, "w")
        admin = stories.database.role(with_grant=True)
        with stories.database.connect(admin) as connection:
            found = connection.execute(
                "SELECT name, host, pid, version, heartbeat <= now(), running FROM df.workers"
            )
            assert found.fetchall() == [("w", "h", 1, "0", True, 0)]
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("SELECT token_hash FROM df._workers")

    def test_ordinary_roles_see_no_workers(self, stories: Any) -> None:
        for table in ("df.workers", "df._worker_epoch"):
            with pytest.raises(errors.InsufficientPrivilege):
                stories.all(f"SELECT 1 FROM {table}")
