"""The story that a real worker leaves behind: the derivation fits the journal that the machine writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

SKIPPED = "pending>skipped"

FINISHED = {
    "a sequence": ("'SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3'", ["completed"] * 5),
    "the right side of a failure": ("'SELECT 1/0' ~> 'SELECT 2'", ["failed", "failed", f"{SKIPPED}@0"]),
    "an untaken else": (
        "df.if('SELECT true', 'SELECT 1', df.seq('SELECT 2', 'SELECT 3'))",
        ["completed", "completed", *[f"{SKIPPED}@0"] * 3, "completed"],
    ),
    "an untaken then": (
        "df.if('SELECT false', 'SELECT 1', 'SELECT 2')",
        ["completed", f"{SKIPPED}@0", "completed", "completed"],
    ),
    "if_rows": (
        "('SELECT 1 WHERE false' |=> 'd') ~> df.if_rows('d', 'SELECT 2', 'SELECT 3')",
        ["completed", "completed", "completed", f"{SKIPPED}@2", "completed"],
    ),
    "a join": ("df.join3('SELECT 1', df.sleep(0), 'SELECT 3')", ["completed"] * 4),
    "a failed join": ("'SELECT 1/0' & 'SELECT 2'", ["failed", "failed", "completed"]),
    "a race": (
        "'SELECT 1' | (df.sleep(600) ~> 'SELECT 2')",
        ["completed", "completed", "running>skipped@0", "running>skipped@0", f"{SKIPPED}@0"],
    ),
    "a loop that lost": (
        "'SELECT 1' | df.loop(df.sleep(600))",
        ["completed", "completed", "failed", "running>skipped@2"],
    ),
    "a root loop": (
        "@> ('SELECT 1' ~> df.break('over'))",
        ["completed"] * 4,
    ),
    "a loop in a sequence": (
        "'SELECT 1' ~> df.loop('SELECT 2', 'SELECT false') ~> 'SELECT 3'",
        ["completed"] * 7,
    ),
    "nested loops": (
        "df.loop('SELECT 1' ~> df.loop('SELECT 2', 'SELECT false'), 'SELECT false')",
        ["completed"] * 7,
    ),
    "a break through a join": (
        "@> ('SELECT 1' & df.break('x'))",
        ["completed"] * 4,
    ),
    "a break outside of a loop": ("df.break('x')", ["completed"]),
}


@pytest.fixture
def worked(stories: Any, worker_process: Callable[..., Any]) -> Any:
    """The same database with a worker of the role's own."""
    worker_process(stories.role)
    return stories


def test_stories_of_finished_instances(worked: Any) -> None:
    started = {name: worked.start(workflow) for name, (workflow, _) in FINISHED.items()}
    for name, story in started.items():
        worked.one("SELECT df.await_instance(%s, 60)", story.id)
        assert story.told() == FINISHED[name][1], name
        assert "⏳" not in worked.one("SELECT df.explain(%s)", story.id), name


def test_results_in_the_view_are_the_instances_own(worked: Any) -> None:
    story = worked.start(
        "(('SELECT 1 AS a' & 'SELECT 2 AS b') |=> 'p' ~> df.sleep(0)) & ('SELECT 3' | df.sleep(600))"
    )
    assert worked.one("SELECT df.await_instance(%s, 60)", story.id) == "completed"
    assert worked.one(
        "SELECT result::text FROM df.nodes WHERE instance_id = %s AND id = '00000000'", story.id
    ) == (worked.one("SELECT df.result(%s)", story.id))
    assert worked.one("SELECT (result->0->'slept')::text FROM df.nodes WHERE id = '00000000'") == "true"


def test_a_loop_that_goes_round_until_told(worked: Any) -> None:
    """Iterations show as executions while it runs, and nothing is open when it is over."""
    story = worked.start(
        "@> ('SELECT 1' ~> (df.wait_for_signal('on') |=> 's')"
        " ~> df.if('SELECT $s.data', df.break(), 'SELECT 2'))"
    )
    for number in range(1, 4):
        until(worked, "SELECT execution_count = %s FROM df.list_instances()", number)
        until(worked, "SELECT count(*) = 1 FROM df.waiting WHERE kind = 'signal' AND waits_for = 'on'")
        assert story.stamps()[:2] == [f"::{number}"] * 2
        assert "running" in story.told()
        worked.one("SELECT df.signal(%s, 'on', %s)", story.id, "true" if number == 3 else "false")
    assert worked.one("SELECT df.await_instance(%s, 60)", story.id) == "completed"
    told = story.told()
    assert not [word for word in told if word.endswith(("running", "pending"))], told
    assert [row[1] for row in worked.all("SELECT * FROM df.instance_executions(%s)", story.id)] == [
        "Completed",
        "ContinuedAsNew",
        "ContinuedAsNew",
    ]


def until(stories: Any, query: str, *parameters: Any) -> None:
    """Poll what another process brings about."""
    deadline = time.monotonic() + 60
    while not stories.one(query, *parameters):
        assert time.monotonic() < deadline, query
        stories.user.execute("SELECT pg_sleep(0.01)")
