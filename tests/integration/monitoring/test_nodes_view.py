"""df.nodes and df.instance_nodes: compatible faces of the same derivation, cheap for one instance (P10)."""

from __future__ import annotations

import json
from typing import Any

import pytest

NODES_COLUMNS = """id character varying(8), instance_id character varying(8), node_type text, query text,
 result_name text, left_node character varying(8), right_node character varying(8), status text, result jsonb,
 error text, submitted_by regrole, database text, created_at timestamp with time zone,
 updated_at timestamp with time zone, status_details jsonb"""


def columns(stories: Any, table: str) -> list[str]:
    found = stories.all(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        table,
    )
    return [column for (column,) in found]


def test_columns_of_df_nodes_are_the_compatible_ones(stories: Any) -> None:
    assert columns(stories, "df.nodes") == [
        part.strip() for part in NODES_COLUMNS.replace("\n", " ").split(",")
    ]


def test_the_first_columns_of_df_instances_are_the_compatible_ones(stories: Any) -> None:
    names = [column.split()[0] for column in columns(stories, "df.instances")]
    expected = "id label root_node status submitted_by database created_at updated_at completed_at"
    assert names[:9] == expected.split()


def test_composites_store_the_ids_of_their_children(stories: Any) -> None:
    story = stories.start(
        "df.loop(df.join3('SELECT 1', 'SELECT 2', 'SELECT 3'), df.if('SELECT 4', 'SELECT 5', 'SELECT 6'))"
    )
    stored = {node["node_type"]: node for node in story.nodes() if node["node_type"] != "SQL"}
    assert stored["LOOP"]["query"] == '{"condition_node":"00000005"}'
    assert stored["LOOP"]["left_node"] == "00000001"
    assert stored["JOIN"]["query"] == '{"extra_nodes":["00000004"]}'
    assert stored["IF"]["query"] == '{"condition_node":"00000008"}'


def test_composites_without_further_children_have_no_query(stories: Any) -> None:
    story = stories.start("('SELECT 1' & 'SELECT 2') | df.loop('SELECT 3')")
    assert [n["query"] for n in story.nodes() if n["node_type"] != "SQL"] == [None, None, None]


def test_an_author_configuration_stays_in_front(stories: Any) -> None:
    sql = {"node_type": "SQL", "query": "SELECT 1"}
    graph = {
        "node_type": "IF",
        "left_node": sql,
        "right_node": sql,
        "condition_node": sql,
        "query": '{"note": "x"}',
    }
    story = stories.start("%s" % ("$e$" + json.dumps(graph) + "$e$"))
    assert story.nodes()[0]["query"] == '{"note": "x","condition_node":"00000003"}'


def test_both_faces_tell_the_same(stories: Any) -> None:
    story = stories.start("'SELECT 1' ~> df.sleep(5)", "same").claimed().row(1)
    view = stories.all(
        "SELECT id, node_type, query, left_node, right_node, status, result::text,"
        " status_details::text, updated_at FROM df.nodes WHERE instance_id = %s ORDER BY id",
        story.id,
    )
    function = stories.all(
        "SELECT node_id, node_type, query, left_node, right_node, status, result, status_details, updated_at"
        " FROM df.instance_nodes(%s) ORDER BY node_id",
        story.id,
    )
    compatible = stories.all(
        "SELECT node_id, execution_id, status, result FROM df.instance_nodes(%s, 7) ORDER BY node_id",
        story.id,
    )
    assert view == function
    assert compatible == [(row[0], 1, row[5], row[6]) for row in function]


def test_an_unknown_instance_has_no_nodes(stories: Any) -> None:
    assert stories.all("SELECT * FROM df.instance_nodes('00000000')") == []
    assert stories.all("SELECT * FROM df.instance_nodes(NULL)") == []


def test_a_result_that_jsonb_cannot_hold_does_not_break_the_listing(stories: Any) -> None:
    story = stories.start("'SELECT 1'").claimed().row(0, value='{"body":"a\\u0000b"}').ended()
    assert story.nodes()[0]["result"] == '"{\\"body\\":\\"a\\\\u0000b\\"}"'


def test_nodes_are_updated_when_something_happened_to_them(stories: Any) -> None:
    story = stories.start("'SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3'").claimed().row(2)
    times = dict(
        stories.all("SELECT id, updated_at > created_at FROM df.nodes WHERE instance_id = %s", story.id)
    )
    assert times == {
        "00000000": False,
        "00000001": False,
        "00000002": True,
        "00000003": True,
        "00000004": False,
    }


@pytest.mark.parametrize("condition", ["instance_id = %s", "instance_id = ANY (ARRAY[%s, 'ffffffff'])"])
def test_one_instance_is_found_through_the_index(stories: Any, condition: str) -> None:
    wanted = [stories.start("'SELECT 1'") for _ in range(20)][7]
    stories.owner.execute("ANALYZE df.instances, df.programs")
    stories.user.execute("SET enable_seqscan = off")
    plan = stories.all(f"EXPLAIN (COSTS OFF) SELECT status FROM df.nodes WHERE {condition}", wanted.id)
    text = "\n".join(line for (line,) in plan)
    assert "Index Cond: ((id)::text =" in text


def test_a_leaky_function_never_sees_foreign_rows(stories: Any) -> None:
    """The views are security barriers: a user's own function runs after the filter."""
    mine = stories.start("'SELECT 1'")
    other = stories.database.role()
    with stories.database.connect(other) as connection:
        connection.execute("SELECT df.start('SELECT 2')")
        connection.execute(
            "CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001"
            " AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
        )
        heard: list[str] = []
        connection.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
        connection.execute("SELECT * FROM df.nodes WHERE pg_temp.peek(query) AND pg_temp.peek(instance_id)")
    assert heard
    assert "SELECT 1" not in heard
    assert mine.id not in heard
