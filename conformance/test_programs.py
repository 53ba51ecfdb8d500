"""P7: programs never break. Every stored program of every format is decoded, verified and run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import psycopg
import pytest
from tests.conftest import Database

from conformance.postgresql import Session
from conformance.programs import STORED, StoredProgram
from conformance.trace import connect, followed
from durasql.bytecode.codec import decode, encode
from durasql.bytecode.listing import render
from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import FORMAT
from durasql.bytecode.verify import verify
from durasql.lower.assemble import assemble

FORMAT_1 = {
    *(
        "SQL",
        "THEN",
        "IF",
        "JOIN",
        "LOOP",
        "BREAK",
        "RACE",
        "SLEEP",
        "WAIT_SCHEDULE",
        "HTTP",
        "HTTP_MULTIPART",
    ),
    *("SIGNAL", "IF_ROWS", "END_IF", "JUMP", "END", "WHILE", "NEXT"),
}
"""The opcodes that format 1 began with; a later format may add, and none may go."""


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_p7_a_stored_program_is_read(stored: StoredProgram) -> None:
    program = verify(decode(stored.code))
    assert program.hash == hashlib.sha256(stored.graph.encode()).hexdigest()
    if program.format == FORMAT:
        assert encode(program).decode() == stored.code
        assert encode(assemble(render(program))).decode() == stored.code


def test_p7_the_stored_programs_have_every_opcode() -> None:
    assert {op.value for op in Op} >= FORMAT_1
    found = {row[0] for stored in STORED for row in json.loads(stored.code)["code"]}
    assert found == {op.value for op in Op}


@pytest.fixture(scope="module")
def fresh(dsn: str, scratch: Database) -> Iterator[Session]:
    """A session of a role that has run nothing yet, and whose tables go where no others are."""
    name = scratch.role("stored", include_http=True)
    scratch.cluster.execute(f'CREATE SCHEMA stored AUTHORIZATION "{name}"', scratch.name)
    with connect(scratch.dsn(name)) as connection:
        connection.execute("SET search_path = stored, public")
        yield connection
        connection.execute("DROP OWNED BY CURRENT_USER")


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_p7_a_stored_program_runs_as_it_did(stored: StoredProgram, fresh: Session, scratch: Database) -> None:
    """The bytecode is put where an older version left it, so nothing is compiled anew."""
    with psycopg.connect(scratch.superuser_dsn, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO df.programs (owner, format, graph, code) VALUES (%s::regrole, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (fresh.info.user, json.loads(stored.code)["format"], stored.graph, stored.code),
        )
    row = fresh.execute("SELECT df.start(%s)", (stored.graph,)).fetchone()
    assert row is not None
    assert followed(fresh, stored.directives, row[0]) == stored.trace
    kept = fresh.execute("SELECT p.code FROM df.programs p WHERE p.graph = %s", (stored.graph,)).fetchall()
    assert kept == [(stored.code,)]
