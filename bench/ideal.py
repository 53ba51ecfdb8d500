"""The limit: what PostgreSQL itself commits when pgbench does a step's work with no engine around it."""

from __future__ import annotations

from bench.cluster import APP, OWNER, Cluster

CLIENTS = 8

_STEP = """\
\\set node random(1, 100)
BEGIN;
SELECT 1;
INSERT INTO journal (instance_id, node, state, value)
VALUES (:client_id, :node, 'done', '{"rows":[{"x":1}],"row_count":1}')
ON CONFLICT (instance_id, node) DO UPDATE
SET state = excluded.state, value = excluded.value, recorded_at = clock_timestamp();
COMMIT;
"""

_INSERT = "INSERT INTO plain (label) VALUES ('bench');\n"

_START = """SELECT df.start('{"node_type":"SQL","query":"SELECT 1"}');\n"""


def prepare(cluster: Cluster) -> None:
    """The tables of the ideal step and of the plain insert."""
    for statement in (
        "CREATE TABLE journal (instance_id integer, node integer, state text, value text,"
        " recorded_at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (instance_id, node))"
        " WITH (fillfactor = 80)",
        "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text,"
        " created_at timestamptz DEFAULT now())",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {OWNER}, {APP}",
    ):
        cluster.execute(statement, "ideal")


def steps(cluster: Cluster, seconds: int) -> float:
    """Ideal steps per second."""
    return cluster.pgbench("ideal", APP, _STEP, CLIENTS, seconds)


def inserts(cluster: Cluster, seconds: int) -> float:
    """Plain one-row inserts per second."""
    return cluster.pgbench("ideal", APP, _INSERT, CLIENTS, seconds)


def starts(cluster: Cluster, seconds: int) -> float:
    """df.start of a one-step workflow per second, with nobody executing them."""
    return cluster.pgbench("durasql", APP, _START, CLIENTS, seconds)
