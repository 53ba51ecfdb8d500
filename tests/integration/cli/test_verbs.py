"""durasql pause, resume, retry, fork: each instance that was meant gets a line; nothing is left out."""

from __future__ import annotations

from typing import Any

import pytest

from durasql.client import connect


@pytest.fixture
def dsn(database: Any) -> tuple[str, str]:
    return ("--dsn", database.owner_dsn)


@pytest.fixture
def start(dsn: tuple[str, str], durasql: Any) -> Any:
    """`start(label)` starts an instance that nobody runs; its id."""

    def start(label: str = "nightly", text: str = "'SELECT 1' ~> df.wait_for_signal('go')") -> str:
        return str(durasql("start", *dsn, "--label", label, "-e", text).out.strip())

    return start


def statuses(durasql: Any, dsn: tuple[str, str]) -> dict[str, str]:
    return {i["id"]: i["status"] for i in durasql("list", *dsn, "--json").json["instances"]}


def test_pause_and_resume_one(start: Any, durasql: Any, dsn: tuple[str, str]) -> None:
    id_ = start()
    done = durasql("pause", *dsn, id_, "--reason", "moving house")
    assert (done.code, done.out.splitlines()[1].split()) == (0, [id_, "nightly", "pending", "paused"])
    shown = durasql("status", *dsn, id_)
    assert "moving house" in shown.out
    assert durasql("result", *dsn, id_).err.splitlines()[-1].strip() == f"hint: durasql resume {id_}"
    assert durasql("resume", *dsn, id_, "--json").json == [
        {"id": id_, "label": "nightly", "was": "paused", "done": True, "outcome": "resumed", "hint": None}
    ]
    assert statuses(durasql, dsn) == {id_: "pending"}


def test_in_bulk_by_label_and_status(start: Any, durasql: Any, dsn: tuple[str, str]) -> None:
    ids = [start(), start(), start("other")]
    rehearsed = durasql("pause", *dsn, "--label", "nightly", "--dry-run")
    assert rehearsed.out.count("would be paused") == 2
    assert "2 of 2 instances would be done" in rehearsed.err
    assert set(statuses(durasql, dsn).values()) == {"pending"}
    paused = durasql("pause", *dsn, "--label", "nightly")
    assert (paused.code, paused.out.count("paused")) == (0, 2)
    assert "2 of 2 instances done" in paused.err
    assert statuses(durasql, dsn) == {ids[0]: "paused", ids[1]: "paused", ids[2]: "pending"}
    resumed = durasql("resume", *dsn, "--status", "paused", "--json").json
    assert [line["id"] for line in resumed] == ids[:2]


def test_what_is_refused_has_its_line_and_the_exit_code_says_so(
    start: Any, durasql: Any, dsn: tuple[str, str]
) -> None:
    mine, cancelled = start(), start()
    durasql("cancel", *dsn, cancelled)
    done = durasql("pause", *dsn, mine, cancelled, "00000000", cancelled)
    assert done.code == 1
    lines = done.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [mine, cancelled, "00000000"]
    assert f"cannot pause instance {cancelled}: it is cancelled" in lines[1]
    assert "not found" in lines[2]
    assert "1 of 3 instances done" in done.err
    assert "hint:" in done.err
    assert statuses(durasql, dsn)[mine] == "paused"


def test_a_dry_run_refuses_what_would_be_refused(start: Any, durasql: Any, dsn: tuple[str, str]) -> None:
    id_ = start()
    done = durasql("resume", *dsn, id_, "--dry-run")
    assert (done.code, "cannot resume instance" in done.out) == (1, True)


def test_nothing_to_do_is_said(durasql: Any, dsn: tuple[str, str]) -> None:
    done = durasql("retry", *dsn, "--label", "nightly")
    assert (done.code, done.out, done.err.strip()) == (0, "", "no instance is so; nothing was done")
    assert durasql("retry", *dsn, "--label", "nightly", "--json").json == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause",),
        ("pause", "7f3a09c1", "--label", "nightly"),
        ("retry", "--status", "broken"),
        ("fork", "7f3a09c1"),
        ("fork", "--label", "nightly", "--node", "00000000"),
    ],
)
def test_what_is_not_clear_is_a_usage_error(
    arguments: tuple[str, ...], durasql: Any, dsn: tuple[str, str]
) -> None:
    done = durasql(*arguments, *dsn)
    assert (done.code, done.out) == (2, "")


def test_retry_names_the_step_and_resumes_there(
    start: Any, durasql: Any, dsn: tuple[str, str], database: Any
) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE cure AS SELECT 0 AS n")
        text = "'SELECT 1' ~> 'SELECT 1 / n AS q FROM cure'"
        failed = durasql("run", *dsn, "--label", "sick", "--json", "-e", text)
        id_ = failed.json["id"]
        assert durasql("retry", *dsn, "--label", "sick", "--dry-run", "--json").json[0]["outcome"] == (
            "would be resumed at 00000002"
        )
        assert statuses(durasql, dsn) == {id_: "failed"}
        owner.execute("UPDATE cure SET n = 1")
    done = durasql("retry", *dsn, "--status", "failed")
    assert "resumed at 00000002" in done.out
    assert statuses(durasql, dsn) == {id_: "running"}


def test_fork_prints_the_new_id(durasql: Any, dsn: tuple[str, str]) -> None:
    id_ = durasql("run", *dsn, "--json", "-e", "'SELECT 1' ~> 'SELECT 2'").json["id"]
    (rehearsed,) = durasql("fork", *dsn, id_, "--node", "00000002", "--dry-run", "--json").json
    assert rehearsed["outcome"] == "would be forked"
    (line,) = durasql("fork", *dsn, id_, "--node", "00000002", "--json").json
    copy = line["outcome"].removeprefix("forked as ")
    assert statuses(durasql, dsn) == {id_: "completed", copy: "pending"}
    assert f"{id_} at 00000002" in durasql("status", *dsn, copy).out
    refused = durasql("fork", *dsn, id_, copy, "--node", "00000009")
    assert (refused.code, refused.out.count("has no node 00000009")) == (1, 2)


def test_start_and_run_pass_the_policy_on(
    start: Any, durasql: Any, dsn: tuple[str, str], database: Any
) -> None:
    options = (
        "--max-attempts",
        "3",
        "--backoff",
        "2 s",
        "--max-backoff",
        "1 min",
        "--on-failure",
        "continue",
    )
    keyed = ("--instance-timeout", "1 h", "--key", "k", "-e", "df.wait_for_signal('go')")
    id_ = durasql("start", *dsn, *options, *keyed).out.strip()
    with database.connect() as owner:
        (policy, key) = owner.execute("SELECT policy - 'deadline', key FROM df.instances").fetchone()
        assert policy == {"max_attempts": 3, "backoff": 2, "max_backoff": 60, "on_failure": "continue"}
        assert key == "k"
        assert owner.execute("SELECT policy ? 'deadline' FROM df.instances").fetchone() == (True,)
    assert durasql("start", *dsn, *keyed).out.strip() == id_
    rejected = durasql("start", *dsn, *keyed, "--on-conflict", "reject")
    assert (rejected.code, f"is active already: {id_}" in rejected.err) == (2, True)
    replaced = durasql("start", *dsn, *keyed, "--on-conflict", "replace").out.strip()
    assert statuses(durasql, dsn) == {id_: "cancelled", replaced: "pending"}
    bad = durasql("run", *dsn, "--backoff", "soon", "-e", "'SELECT 1'")
    assert (bad.code, "backoff is no duration: 'soon'" in bad.err) == (2, True)


def test_failed_tries_are_listed(durasql: Any, dsn: tuple[str, str]) -> None:
    text = "$q$DO $d$ BEGIN RAISE EXCEPTION 'busy'; END $d$ $q$"
    options = ("--max-attempts", "3", "--backoff", "1 ms", "--max-backoff", "1 ms")
    id_ = durasql("run", *dsn, *options, "--json", "-e", text).json["id"]
    listed = durasql("attempts", *dsn, id_).out.splitlines()
    assert listed[0].split() == ["node", "type", "gen", "try", "failed", "next", "code", "message"]
    assert [line.split()[:3] for line in listed[1:]] == [["00000000", "SQL", str(n)] for n in (1, 2, 3)]
    shown = durasql("attempts", *dsn, id_, "--json").json
    assert [(a["number"], a["sqlstate"], "busy" in a["message"]) for a in shown] == [
        (1, "P0001", True),
        (2, "P0001", True),
        (3, "P0001", True),
    ]
    assert durasql("nodes", *dsn, id_, "--json").json[0]["failures"] == 3
    assert durasql("attempts", *dsn, "00000000").code == 2


def test_a_file_says_it_as_psql_would(
    durasql: Any, dsn: tuple[str, str], database: Any, tmp_path: Any
) -> None:
    """The options of the command line win over what the text says."""
    text = "SELECT df.start(df.wait_for_signal('go'), 'l', max_attempts => 2, backoff => '1 s', key => 'k');"
    (tmp_path / "w.dsql").write_text(text)
    durasql("start", *dsn, str(tmp_path / "w.dsql"), "--max-attempts", "5", "--key", "other")
    with connect(database.owner_dsn) as client:
        client.start(tmp_path / "w.dsql", backoff="2 s")
        rows = client.connection.execute(
            "SELECT label, key, policy FROM df.instances ORDER BY key"
        ).fetchall()
    assert rows == [
        ("l", "k", {"max_attempts": 2, "backoff": 2}),
        ("l", "other", {"max_attempts": 5, "backoff": 1}),
    ]
