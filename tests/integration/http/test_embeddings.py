"""The embedding pipeline: chunks, vectors over HTTP, pgvector; killed in between, yet complete (P2, P4)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server_module():
    spec = importlib.util.spec_from_file_location("embedding_server", ROOT / "examples/embedding_server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_embeddings_are_the_same_for_ever_and_near_for_like_texts(server_module):
    embed = server_module.embed
    assert embed("durable workflows") == embed("durable workflows")
    near = sum(a * b for a, b in zip(embed("durable workflows"), embed("durable workflow"), strict=True))
    far = sum(a * b for a, b in zip(embed("durable workflows"), embed("xyz"), strict=True))
    assert near > far
    with pytest.raises(ValueError, match="input"):
        server_module.answer({"input": [1]})


async def test_a_pipeline_that_is_killed_between_call_and_upsert_ends_complete(
    database, site, server_module, worker_process
):
    if not database.cluster.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
        pytest.skip("this server has no pgvector")
    role = database.role(include_http=True)
    database.cluster.execute("CREATE EXTENSION IF NOT EXISTS vector", database.name)
    database.cluster.execute(f"GRANT CREATE ON SCHEMA public TO {role}", database.name)
    hold = asyncio.Event()

    async def embeddings(seen, writer):
        if len(site.requests) == 1:
            await hold.wait()
        reply = server_module.answer(seen.json())
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(reply)}\r\n\r\n"
        writer.write(head.encode() + reply)

    site.handlers["/"] = embeddings
    with database.connect() as connection:
        connection.execute("SELECT df.http_allow('127.0.0.1', port => %s, role => %s)", (site.port, role))
    with database.connect(role) as connection:
        connection.execute(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs VALUES (1, E'it''s one\n\ntwo \"quoted\"'), (2, 'three');"
            "CREATE TABLE embeddings (doc int, n int, text text, vector vector(64), PRIMARY KEY (doc, n))"
        )
    statement = """
        SELECT df.start(
            $$ SELECT json_build_object('input', json_agg(c.text ORDER BY d.id, c.n))::text AS request,
                      json_agg(json_build_object('doc', d.id, 'n', c.n, 'text', c.text)
                               ORDER BY d.id, c.n)::text AS chunks
               FROM docs d, regexp_split_to_table(d.body, E'\\n\\n') WITH ORDINALITY AS c(text, n) $$
            |=> 'batch'
            ~> df.http(%s, 'POST', '$batch.request', '{"Content-Type":"application/json"}') |=> 'reply'
            ~> $$ INSERT INTO embeddings (doc, n, text, vector)
                  SELECT (c.item->>'doc')::int, (c.item->>'n')::int, c.item->>'text',
                         (e.item->>'embedding')::vector
                  FROM json_array_elements($batch.chunks::json) WITH ORDINALITY AS c(item, at)
                  JOIN json_array_elements($reply.body::json->'data') WITH ORDINALITY AS e(item, at)
                       USING (at)
                  ON CONFLICT (doc, n) DO UPDATE SET text = excluded.text, vector = excluded.vector $$)
    """
    first = worker_process(role)
    async with await psycopg.AsyncConnection.connect(database.dsn(role), autocommit=True) as connection:
        (id_,) = await (await connection.execute(statement, (site.url(),))).fetchone()
        await site.arrived.wait()
        first.kill()
        worker_process(role)
        (status,) = await (await connection.execute("SELECT df.await_instance(%s, 60)", (id_,))).fetchone()
        hold.set()
        rows = await (
            await connection.execute("SELECT doc, n, text, vector::text FROM embeddings ORDER BY doc, n")
        ).fetchall()
        failure = await (
            await connection.execute("SELECT output FROM df.instances WHERE id = %s", (id_,))
        ).fetchone()
    assert status == "completed", failure
    assert [row[:3] for row in rows] == [(1, 1, "it's one"), (1, 2, 'two "quoted"'), (2, 1, "three")]
    assert json.loads(rows[0][3]) == pytest.approx(server_module.embed("it's one"), abs=1e-5)
    assert len({seen.headers["idempotency-key"] for seen in site.requests}) == 1
