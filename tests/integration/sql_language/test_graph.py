"""What df.start refuses of hand-written graphs, with the exact path, and what it stores of good ones."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
import pytest

from durasql.syntax.envelope import decode, encode

VALID = (
    "SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL, "
    "RETRY, TIMEOUT, CATCH, FINALLY, UNDO"
)
STEP: dict[str, Any] = {"node_type": "SQL", "query": "a"}


def then(left: Any, right: Any, **more: Any) -> dict[str, Any]:
    return {"node_type": "THEN", "left_node": left, "right_node": right, **more}


def join(*extras: Any, **more: Any) -> dict[str, Any]:
    return {"node_type": "JOIN", "left_node": STEP, "right_node": STEP, "extra_nodes": list(extras), **more}


def loop(**more: Any) -> dict[str, Any]:
    return {"node_type": "LOOP", "left_node": STEP, **more}


def branch(**more: Any) -> dict[str, Any]:
    return {"node_type": "IF", "left_node": STEP, "right_node": STEP, **more}


GRAPH_ERRORS: list[tuple[Any, str]] = [
    (then(STEP, {"node_type": "FOO"}), f"root.right: Unknown node_type 'FOO'. Valid types: {VALID}"),
    (then({**STEP, "condition_node": STEP}, STEP), "root.left: condition_node is not valid for SQL nodes"),
    (then(STEP, STEP, condition_node=STEP), "root: condition_node is not valid for THEN nodes"),
    (then(STEP, STEP, extra_nodes=[STEP]), "root: extra_nodes is not valid for THEN nodes"),
    (loop(extra_nodes=[STEP]), "root: extra_nodes is not valid for LOOP nodes"),
    (
        branch(query='{"condition_node":"x"}'),
        "root: condition_node in IF must be a first-class Durofut field, not embedded in query",
    ),
    (
        loop(query='{"condition_node":"x"}'),
        "root: condition_node in LOOP must be a first-class Durofut field, not embedded in query",
    ),
    (
        join(query='{"extra_nodes":[]}'),
        "root: extra_nodes in JOIN must be a first-class Durofut field, not embedded in query",
    ),
    (
        join(STEP, then(STEP, {"x": 1})),
        "root.extra_nodes[1].right: failed to deserialize Durofut child: missing field `node_type`",
    ),
    (
        loop(condition_node={"node_type": 5}),
        "root.condition_node: failed to deserialize Durofut child: missing field `node_type`",
    ),
    (
        then(then(STEP, {**STEP, "query": 5}), STEP),
        "root.left.right: failed to deserialize Durofut child: query must be a string",
    ),
    (
        then(STEP, {**STEP, "result_name": []}),
        "root.right: failed to deserialize Durofut child: result_name must be a string",
    ),
    (then(STEP, then(STEP, "x")), "root.right: Durofut children must be JSON objects"),
    (then(STEP, loop(condition_node="x")), "root.right: condition_node must be a Durofut JSON object"),
    (then(STEP, join(5)), "root.right: extra_nodes entries must be Durofut JSON objects"),
    (
        then(STEP, {**join(), "extra_nodes": {}}),
        "root.right: extra_nodes entries must be Durofut JSON objects",
    ),
    (loop(condition_node=STEP, query="[]"), "root: query in LOOP must be a JSON config object"),
    (join(STEP, query="5"), "root: query in JOIN must be a JSON config object"),
]


@pytest.mark.parametrize(
    ("graph", "message"), GRAPH_ERRORS, ids=[message[:60] for _, message in GRAPH_ERRORS]
)
def test_graph_error(user: psycopg.Connection[Any], refused: Any, graph: Any, message: str) -> None:
    error = refused("df.start(%s)", json.dumps(graph))
    assert error.diag.message_primary == f"Invalid durable function graph: {message}"
    assert error.sqlstate == "22023"
    assert user.execute("SELECT count(*) FROM df.programs").fetchone() == (0,)


@pytest.mark.parametrize(
    "graph",
    [branch(condition_node=STEP, query="{"), loop(condition_node=STEP, query="x"), join(STEP, query="")],
)
def test_a_configuration_that_is_no_json(refused: Any, graph: Any) -> None:
    message = refused("df.start(%s)", json.dumps(graph)).diag.message_primary
    assert message.startswith(
        f"Invalid durable function graph: root: query in {graph['node_type']} must be valid JSON config: "
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"node_type":"FOO"}', f"Unknown node_type 'FOO'. Valid types: {VALID}"),
        ('{"node_type":"FOO","query":5}', f"Unknown node_type 'FOO'. Valid types: {VALID}"),
        (
            '{"node_type":"SQL","query":5}',
            "Malformed Durofut JSON with node_type 'SQL': query must be a string",
        ),
        (
            '{"node_type":"THEN","left_node":5}',
            "Malformed Durofut JSON with node_type 'THEN': Durofut children must be JSON objects",
        ),
        (
            '{"node_type":"IF","condition_node":5}',
            "Malformed Durofut JSON with node_type 'IF': condition_node must be a Durofut JSON object",
        ),
        (
            '{"node_type":"JOIN","extra_nodes":[5]}',
            "Malformed Durofut JSON with node_type 'JOIN': extra_nodes entries must be Durofut JSON objects",
        ),
        (
            '{"node_type":"SQL","query":"a","query":"b"}',
            "Malformed Durofut JSON with node_type 'SQL': duplicate field `query`",
        ),
        (
            '{"node_type":"SQL","query":"\\u0000"}',
            "Malformed Durofut JSON with node_type 'SQL': unsupported Unicode escape sequence",
        ),
    ],
)
def test_malformed_root(refused: Any, text: str, message: str) -> None:
    assert refused("df.start(%s)", text).diag.message_primary == f"Invalid durable function: {message}"


SHAPES: list[tuple[Any, str]] = [
    ({"node_type": "SQL"}, "root: SQL needs a query and no children"),
    ({**STEP, "left_node": STEP}, "root: SQL needs a query and no children"),
    ({"node_type": "SLEEP"}, "root: SLEEP needs a query and no children"),
    (
        {"node_type": "SIGNAL", "query": "{}", "right_node": STEP},
        "root: SIGNAL needs a query and no children",
    ),
    (then(STEP, STEP, query="x"), "root: THEN needs left_node and right_node and no query"),
    ({"node_type": "RACE", "left_node": STEP}, "root: RACE needs left_node and right_node and no query"),
    (
        then(STEP, {"node_type": "IF", "left_node": STEP, "condition_node": STEP}),
        "root.right: IF needs left_node and right_node",
    ),
    (branch(), "root: IF needs a condition_node or a configuration"),
    ({"node_type": "LOOP"}, "root: LOOP needs left_node and no right_node"),
    (loop(right_node=STEP), "root: LOOP needs left_node and no right_node"),
    (
        {"node_type": "JOIN", "left_node": STEP, "extra_nodes": [STEP]},
        "root: JOIN needs left_node and right_node",
    ),
    ({**STEP, "result_name": "a b"}, "root: result_name 'a b' is not a valid identifier"),
    (then(STEP, {**STEP, "result_name": ""}), "root.right: result_name '' is not a valid identifier"),
]


@pytest.mark.parametrize(("graph", "detail"), SHAPES, ids=[detail for _, detail in SHAPES])
def test_a_shape_that_no_node_has_is_a_check_violation(refused: Any, graph: Any, detail: str) -> None:
    error = refused("df.start(%s)", json.dumps(graph))
    rule = "nodes_result_name_chk" if "result_name" in detail else "nodes_structure_chk"
    assert error.sqlstate == "23514"
    assert error.diag.message_primary == f'new row for relation "nodes" violates check constraint "{rule}"'
    assert (error.diag.constraint_name, error.diag.schema_name, error.diag.table_name) == (
        rule,
        "df",
        "nodes",
    )
    assert error.diag.message_detail == detail


def test_a_repeated_key_below_the_root_is_refused(refused: Any) -> None:
    child = '{"node_type":"SQL","query":"a","query":"b"}'
    text = json.dumps(join("CHILD")).replace('"CHILD"', child)
    message = refused("df.start(%s)", text).diag.message_primary
    assert (
        message == "Invalid durable function graph: root.extra_nodes[0]: failed to deserialize Durofut child:"
        " duplicate field `query`"
    )


def chain(levels: int) -> str:
    return (
        '{"node_type":"THEN","left_node":' * levels
        + json.dumps(STEP)
        + f',"right_node":{json.dumps(STEP)}}}' * levels
    )


def wide(nodes: int) -> str:
    return json.dumps(join(*({"node_type": "SQL", "query": f"SELECT {n}"} for n in range(nodes - 3))))


def test_depth_limit(ask: Any, refused: Any) -> None:
    """L16, P9"""
    assert ask("df.start(%s)", chain(256))
    for levels in (257, 5_000, 100_000):
        error = refused("df.start(%s)", chain(levels))
        assert error.diag.message_primary.endswith(
            ": Graph exceeds maximum nesting depth of 256. Simplify the workflow or break it into multiple"
            " instances."
        )
        assert error.sqlstate == "54000"


def test_node_limit(ask: Any, refused: Any) -> None:
    """L16, P9"""
    assert ask("df.start(%s)", wide(10_000))
    message = refused("df.start(%s)", wide(10_001)).diag.message_primary
    assert (
        message
        == "Invalid durable function graph: root.extra_nodes[9997]: Workflow exceeds maximum node count of"
        " 10000. Simplify the workflow or break it into multiple instances."
    )


def test_size_limit(refused: Any) -> None:
    """P9"""
    error = refused("df.start(repeat('x', 16777217))")
    assert (
        error.diag.message_primary
        == "Invalid durable function: the workflow has 16777217 bytes, the maximum is 16777216"
    )
    assert "max_graph_bytes" in error.diag.message_hint


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"node_type":' * 100_000,
        "{" * 100_000,
        '{"node_type":"SQL"' * 9_999,
    ],
)
def test_nested_nonsense_never_crashes(user: psycopg.Connection[Any], text: str) -> None:
    """P9: it is one SQL step, or too deep."""
    try:
        user.execute("SELECT df.start(%s)", (text,))
    except psycopg.Error as error:
        assert "exceeds maximum nesting depth" in str(error)


STORED: list[tuple[Any, list[dict[str, Any]]]] = [
    (STEP, [{"t": "SQL", "q": "a"}]),
    (
        then({**STEP, "result_name": "n"}, loop(condition_node=STEP)),
        [
            {"t": "THEN", "l": 1, "r": 2},
            {"t": "SQL", "q": "a", "n": "n", "p": 0},
            {"t": "LOOP", "l": 3, "c": 4, "p": 0},
            {"t": "SQL", "q": "a", "p": 2},
            {"t": "SQL", "q": "a", "p": 2},
        ],
    ),
    (
        join(STEP, join(STEP), query='{"k": 1}'),
        [
            {"t": "JOIN", "q": '{"k": 1}', "l": 1, "r": 2, "x": [3, 4]},
            {"t": "SQL", "q": "a", "p": 0},
            {"t": "SQL", "q": "a", "p": 0},
            {"t": "SQL", "q": "a", "p": 0},
            {"t": "JOIN", "l": 5, "r": 6, "x": [7], "p": 0},
            {"t": "SQL", "q": "a", "p": 4},
            {"t": "SQL", "q": "a", "p": 4},
            {"t": "SQL", "q": "a", "p": 4},
        ],
    ),
    (
        branch(condition_node=then(STEP, STEP), result_name="r"),
        [
            {"t": "IF", "n": "r", "l": 1, "r": 2, "c": 3},
            {"t": "SQL", "q": "a", "p": 0},
            {"t": "SQL", "q": "a", "p": 0},
            {"t": "THEN", "l": 4, "r": 5, "p": 0},
            {"t": "SQL", "q": "a", "p": 3},
            {"t": "SQL", "q": "a", "p": 3},
        ],
    ),
]


@pytest.mark.parametrize(("graph", "nodes"), STORED, ids=["leaf", "sequence", "join", "branch"])
def test_nodes_are_numbered_in_pre_order(
    user: psycopg.Connection[Any], ask: Any, graph: Any, nodes: Any
) -> None:
    ask("df.start(%s)", json.dumps(graph))
    row = user.execute("SELECT nodes, graph, hash FROM df.programs").fetchone()
    assert row is not None
    assert row[0] == nodes
    assert row[1] == encode(decode(json.dumps(graph)))
    assert row[2] == hashlib.sha256(row[1].encode()).hexdigest()


def test_every_spelling_of_a_graph_is_one_program(user: psycopg.Connection[Any], ask: Any) -> None:
    """P1"""
    spellings = [
        '{"node_type":"THEN","left_node":{"node_type":"SQL","query":"é/"},"right_node":{"node_type":"SLEEP","query":"5"}}',
        (
            ' {"right_node": {"query": "5", "node_type": "SLEEP", "left_node": null}, "left_node":'
            ' {"node_type": "SQL", "query": "\\u00e9\\/", "odd": [1, 1e99999]}, "node_type": "THEN",'
            ' "extra_nodes": [], "query": null} '
        ),
    ]
    for text in (*spellings, "'é/' ~> df.sleep(5)", spellings[0]):
        assert ask("df.start(%s)", text)
    assert user.execute("SELECT count(*), min(graph) FROM df.programs").fetchone() == (1, spellings[0])
    assert user.execute("SELECT count(DISTINCT program) FROM df.instances").fetchone() == (1,)


def test_a_raw_insert_cannot_lie_about_a_program(user: psycopg.Connection[Any]) -> None:
    row = user.execute(
        'INSERT INTO df.programs (hash, graph) VALUES (\'lie\', \'{"query":"x", "node_type":"SQL"}\')'
        " RETURNING hash, graph, nodes"
    ).fetchone()
    canonical = '{"node_type":"SQL","query":"x"}'
    assert row == (hashlib.sha256(canonical.encode()).hexdigest(), canonical, [{"t": "SQL", "q": "x"}])
    with pytest.raises(psycopg.Error, match="Unknown node_type 'FOO'"):
        user.execute("INSERT INTO df.programs (hash, graph) VALUES ('lie', '{\"node_type\":\"FOO\"}')")
    for column in ("owner", "nodes", "code", "format"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            user.execute(f"INSERT INTO df.programs (hash, graph, {column}) VALUES ('a', '{canonical}', NULL)")


@pytest.mark.parametrize("config", ["x", "{}", '{"seconds":5}', "-5", ""])
@pytest.mark.parametrize("kind", ["SLEEP", "WAIT_SCHEDULE", "HTTP", "HTTP_MULTIPART", "SIGNAL", "BREAK"])
def test_leaves_that_no_builder_makes_are_stored_and_fail_only_when_run(
    ask: Any, kind: str, config: str
) -> None:
    assert ask("df.start(%s)", json.dumps({"node_type": kind, "query": config}))
