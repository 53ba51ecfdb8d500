"""df.explain: dry runs of every kind of input, and the live view; trees character by character."""

from __future__ import annotations

import json
from typing import Any

import pytest

QUEUE = """(('INSERT INTO playground.heartbeats (ts, source) VALUES (now(), 1)' ~> df.sleep(5))
 & (df.http('https://example.azurewebsites.net/api/health?code=1', 'GET') |=> 'resp') |=> 'pair')
 ~> df.if('SELECT $sig IS NOT NULL', df.break('{"status": "completed"}'),
          df.wait_for_signal('go', 3600) |=> 'sig')"""


def lines(stories: Any, composed: str) -> list[str]:
    """Explain an SQL expression that composes a workflow."""
    return stories.one(f"SELECT df.explain({composed})").split("\n")


def check(found: list[str], expected: str) -> None:
    """Every line is padded to the longest one plus four."""
    wanted = expected.strip("\n").split("\n")
    width = max(map(len, wanted)) + 4
    assert found == [line.ljust(width) for line in wanted]


def test_a_sequence_with_a_choice(stories: Any) -> None:
    composed = """'SELECT 1' |=> 'a' ~> 'SELECT 2' |=> 'b'
        ~> df.if('SELECT $a > 0', 'SELECT ''yes''', 'SELECT ''no''')"""
    found = lines(stories, composed)
    assert len(found[0]) == 30
    check(
        found,
        """
SQL: SELECT 1 |=> 'a'
→ SQL: SELECT 2
→ IF
    ? condition:
      └─SQL: SELECT $a > 0
    ✓ then:
      └─SQL: SELECT 'yes'
    ✗ else:
      └─SQL: SELECT 'no'
""",
    )


def test_a_loop_of_everything(stories: Any) -> None:
    stories.owner.execute("SELECT df.grant_usage(%s, include_http => true)", (stories.role,))
    check(
        lines(stories, f"df.loop({QUEUE}, 'SELECT count(*) > 0 FROM queue') |=> 'out'"),
        """
LOOP (while) |=> 'out'
    ↻ body:
      └─JOIN (2) |=> 'pair'
          ║ branch 1:
            ├─SQL: INSERT INTO playground.heartbeats (ts, source) ...
            → SLEEP 5s
          ║ branch 2:
            └─HTTP GET https://example.azurewebsites.net/api... |=> 'resp'
      → IF
          ? condition:
            └─SQL: SELECT $sig IS NOT NULL
          ✓ then:
            └─BREAK '{"status": "compl...'
          ✗ else:
            └─SIGNAL 'go' (3600s) |=> 'sig'
    ? while:
      └─SQL: SELECT count(*) > 0 FROM queue
""",
    )


def test_branches_in_branches(stories: Any) -> None:
    check(
        lines(stories, "(('SELECT 1' & 'SELECT 2') | 'SELECT 3') |=> 'x' ~> 'SELECT 4'"),
        """
RACE
    ║ branch 1:
      ├─JOIN (2)
      │   ║ branch 1:
      │     ├─SQL: SELECT 1
      │   ║ branch 2:
      │     └─SQL: SELECT 2
    ║ branch 2:
      └─SQL: SELECT 3
→ SQL: SELECT 4
""",
    )


def test_if_rows_has_no_condition(stories: Any) -> None:
    check(
        lines(stories, "'SELECT 1 AS v' |=> 'd' ~> df.if_rows('d', 'SELECT $d.v', 'SELECT ''none''')"),
        """
SQL: SELECT 1 AS v |=> 'd'
→ IF
    ✓ then:
      └─SQL: SELECT $d.v
    ✗ else:
      └─SQL: SELECT 'none'
""",
    )


def test_a_sequence_in_a_branch_that_is_not_the_last(stories: Any) -> None:
    check(
        lines(
            stories,
            "df.join3(('SELECT 1' & 'SELECT 2') ~> ('SELECT 3' | 'SELECT 4'), 'SELECT 5', df.break())",
        ),
        """
JOIN (3)
    ║ branch 1:
      ├─JOIN (2)
          ║ branch 1:
            ├─SQL: SELECT 1
          ║ branch 2:
            └─SQL: SELECT 2
      → RACE
          ║ branch 1:
            ├─SQL: SELECT 3
          ║ branch 2:
            └─SQL: SELECT 4
    ║ branch 2:
      ├─SQL: SELECT 5
    ║ branch 3:
      └─BREAK
""",
    )


def test_waits(stories: Any) -> None:
    check(
        lines(
            stories, "df.wait_for_schedule('0 5 * * *') |=> 's' ~> df.wait_for_signal('go') ~> @> df.sleep(1)"
        ),
        "WAIT '0 5 * * *' |=> 's'\n→ SIGNAL 'go'\n→ LOOP (infinite)\n    ↻ body:\n      └─SLEEP 1s",
    )


def test_multipart(stories: Any) -> None:
    stories.owner.execute("SELECT df.grant_usage(%s, include_http => true)", (stories.role,))
    part = """'[{"name":"f","data_b64":"eA=="}]'"""
    check(
        lines(stories, f"df.http_multipart('https://example.com/x', parts => {part})"),
        "HTTP_MULTIPART POST https://example.com/x",
    )


@pytest.mark.parametrize(("length", "shown"), [(50, "é" * 25), (52, "é" * 23 + "...")])
def test_long_text_is_cut_at_whole_characters(stories: Any, length: int, shown: str) -> None:
    text = "é" * (length // 2)
    assert stories.one("SELECT df.explain(df.sql(%s))", text).rstrip() == "SQL: " + shown


class TestInputs:
    def one(self, stories: Any, text: str | None) -> Any:
        return stories.one("SELECT df.explain(%s)", text)

    def test_null(self, stories: Any) -> None:
        assert self.one(stories, None) is None

    @pytest.mark.parametrize(
        "text", ["select 1", "WITH x AS (SELECT 1) SELECT * FROM x", "  DELETE\nFROM t ", "DO $$$$"]
    )
    def test_a_statement_is_one_step(self, stories: Any, text: str) -> None:
        assert self.one(stories, text).rstrip() == f"SQL: {text.strip()}"

    @pytest.mark.parametrize(
        "text", ["", "hello", "selection", "{}", '{"a":1}', "DO\n$$$$", "[1]", '{"node_type":1}']
    )
    def test_what_cannot_be_explained(self, stories: Any, text: str) -> None:
        assert self.one(stories, text) == (
            "Cannot explain input: not a valid Durofut JSON, instance ID, SQL statement, or DSL expression.\n"
            "Hint: DSL expressions use df.*() functions and operators like ~>, |=>, &, |."
        )

    def test_an_unknown_instance(self, stories: Any) -> None:
        assert self.one(stories, "0123abCD") == "Instance '0123abCD' not found"

    def test_operator_language_in_text(self, stories: Any) -> None:
        found = self.one(stories, "'SELECT 1' |=> 'a' ~> df.sleep(5)").split("\n")
        check(found, "SQL: SELECT 1 |=> 'a'\n→ SLEEP 5s")

    def test_an_expression_without_value(self, stories: Any) -> None:
        assert self.one(stories, "df.seq('SELECT 1', NULL)") == "Expression returned NULL"

    def test_a_partial_if(self, stories: Any) -> None:
        assert self.one(stories, "'SELECT 1' ?> 'SELECT 2'").startswith("Failed to parse Durofut JSON: ")

    def test_graph_errors_are_text(self, stories: Any) -> None:
        assert self.one(stories, '{"node_type":"NOPE"}') == (
            "Invalid durable function graph: root: Unknown node_type 'NOPE'. Valid types: SQL, THEN, IF,"
            " JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL,"
            " RETRY, TIMEOUT, CATCH, FINALLY, UNDO"
        )
        broken = {"node_type": "LOOP", "left_node": {"node_type": "SQL", "query": "x"}, "extra_nodes": [{}]}
        assert self.one(stories, json.dumps(broken)) == (
            "Invalid durable function graph: root: extra_nodes is not valid for LOOP nodes"
        )

    def test_a_deep_graph_is_refused_not_crashed(self, stories: Any) -> None:
        text = '{"node_type":"SQL","query":"x"}'
        for _ in range(300):
            text = f'{{"node_type":"LOOP","left_node":{text}}}'
        assert "Graph exceeds maximum nesting depth of 256" in self.one(stories, text)

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT df.start('SELECT 1')",
            "df.start('SELECT 1')",
            "df.sql(df.start('SELECT 1'))",
            "'SELECT 1' ~> df.setvar('a', 'b')",
            "df.sql((SELECT df.start('SELECT 1')))",
            "'a' ~> (SELECT set_config('df.touched', 'yes', false))",
            "df.sql(pg_catalog.set_config('df.touched', 'yes', false))",
            "'a' ~> 'b'; SELECT set_config('df.touched', 'yes', false)",
            "'a' -- ' ~> 'b'\n|| set_config('df.touched', 'yes', false)",
        ],
    )
    def test_s7_nothing_but_builders_runs(self, stories: Any, text: str) -> None:
        stories.user.execute("SET df.touched = 'no'")
        try:
            self.one(stories, text)
        except Exception as refused:  # any refusal will do; what counts is what did not happen
            assert str(refused)
        assert stories.one("SHOW df.touched") == "no"
        assert stories.one("SELECT count(*) FROM df.instances") == 0
        assert stories.one("SELECT count(*) FROM df.vars") == 0

    def test_it_works_in_a_read_only_transaction(self, stories: Any) -> None:
        stories.user.execute("SET default_transaction_read_only = on")
        assert self.one(stories, "'SELECT 1' ~> 'SELECT 2'").startswith("SQL: SELECT 1")


class TestLive:
    def explain(self, stories: Any, story: Any) -> str:
        text = stories.one("SELECT df.explain(%s)", story.id)
        return "\n".join(line.rstrip() for line in text.replace(story.id, "a1b2c3d4").split("\n"))

    def test_a_race_that_is_won(self, stories: Any) -> None:
        story = stories.start("'SELECT ''winner''' | df.sleep(10)", "test").claimed()
        output = '{"rows":[{"?column?":"winner"}],"row_count":1}'
        story.row(1).row(0, refs=[1]).ended("completed", output)
        assert self.explain(stories, story) == (
            f"""Instance: a1b2c3d4 (test)
Status:   ✓ Completed
Output:   {output}

RACE ✓
    ║ branch 1:
      ├─SQL: SELECT 'winner' ✓
    ║ branch 2:
      └─SLEEP 10s ⊘"""
        )

    def test_a_failure(self, stories: Any) -> None:
        story = stories.start("'SELECT 1/0' ~> 'SELECT 42'").claimed()
        text = "SQL execution failed: error returned from database: division by zero"
        story.failed(1, text).failed(0, refs=[1]).ended("failed", text)
        assert self.explain(stories, story) == (
            """Instance: a1b2c3d4
Status:   ✗ Failed
Output:   SQL execution failed: error returned from database: divis...

SQL: SELECT 1/0 ✗
→ SQL: SELECT 42 ⊘"""
        )

    def test_a_running_loop(self, stories: Any) -> None:
        story = stories.start("@> ('SELECT work()' ~> df.sleep(60))", "worker").claimed().row(2, gen="1")
        assert self.explain(stories, story) == (
            """Instance: a1b2c3d4 (worker)
Status:   ⏳ Running

LOOP (infinite) ⏳
    ↻ body:
      └─SQL: SELECT work() ✓
      → SLEEP 60s ⏳"""
        )

    def test_pending_and_cancelled(self, stories: Any) -> None:
        story = stories.start("'SELECT 1'")
        assert self.explain(stories, story) == "Instance: a1b2c3d4\nStatus:   ○ pending\n\nSQL: SELECT 1 ○"
        stories.one("SELECT df.cancel(%s, 'enough')", story.id)
        assert self.explain(stories, story).split("\n")[1:3] == [
            "Status:   ✗ Failed",
            "Output:   canceled: enough",
        ]

    def test_the_tree_is_padded_and_the_header_is_not(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' ~> df.sleep(5)").claimed()
        head, tree = stories.one("SELECT df.explain(upper(%s))", story.id).split("\n\n")
        assert all(line == line.rstrip() for line in head.split("\n"))
        assert {len(line) for line in tree.split("\n")} == {len("SQL: SELECT 1 ⏳") + 4}

    def test_foreign_instances_do_not_exist(self, stories: Any) -> None:
        story = stories.start("'SELECT 1'")
        stranger = stories.database.role()
        with stories.database.connect(stranger) as connection:
            answer = connection.execute("SELECT df.explain(%s)", (story.id,)).fetchone()
        assert answer == (f"Instance '{story.id}' not found",)
