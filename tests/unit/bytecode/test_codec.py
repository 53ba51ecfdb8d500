"""Programs: encoding, verification, listing and assembly (P1, P7)."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from tests.graphs import graphs

from durasql.bytecode.codec import decode, encode
from durasql.bytecode.listing import render
from durasql.bytecode.opcodes import OPCODES, Op
from durasql.bytecode.program import FORMAT, Program
from durasql.bytecode.verify import verify
from durasql.errors import FormatFromTheFuture, ProgramError
from durasql.lower import lower
from durasql.lower.assemble import assemble
from durasql.pipeline import compile_graph
from durasql.syntax import ast
from durasql.syntax import envelope as graph

GUARDS = ast.Catch(
    ast.Retry(ast.Undo(ast.Finally(ast.Sql("a"), ast.Sql("b")), ast.Sql("c")), errors=("40001", "http:5xx")),
    ast.Loop(ast.Timeout(ast.Sql("d"), Decimal("0.5")), ast.Sql("e"), continue_on_failure=True),
)
EVERY_OP = ast.Then(
    ast.If(ast.Sql("SELECT true"), ast.Loop(ast.Break("x"), ast.Sql("SELECT 1")), ast.Sleep(1), name="r"),
    ast.IfRows(
        "r",
        ast.Join(
            (ast.Http("https://a.example"), ast.HttpMultipart("https://a.example", parts=[{"name": "p"}]))
        ),
        ast.Race(ast.Signal("go"), ast.Then(ast.WaitSchedule("* * * * *"), GUARDS)),
    ),
)


def program_of(node: ast.Node) -> Program:
    return compile_graph(graph.encode(node))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_p1_the_same_graph_gives_the_same_bytes_and_they_decode(node: ast.Node) -> None:
    program = program_of(node)
    assert encode(program) == encode(program_of(node))
    assert verify(decode(encode(program))) == program


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_the_listing_assembles_back_to_the_same_program(node: ast.Node) -> None:
    program = program_of(node)
    assert assemble(render(program)) == program


def test_every_opcode_is_emitted_by_some_program() -> None:
    assert {instruction.op for instruction in program_of(EVERY_OP).code} == set(Op)
    assert set(OPCODES) == set(Op)


def test_shared_subtrees_are_nodes_of_their_own() -> None:
    step = ast.Sql("SELECT 1")
    node = ast.If(step, step, ast.Then(step, step))
    assert encode(lower(node)) == encode(program_of(node))


def test_p7_a_program_of_a_later_format_is_refused_with_the_remedy() -> None:
    document = json.loads(encode(program_of(EVERY_OP)))
    document["format"] = FORMAT + 1
    with pytest.raises(FormatFromTheFuture) as caught:
        decode(json.dumps(document))
    assert "upgrade durasql" in str(caught.value.hint)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"format":1}', b'{"format":"1"}', b'{"format":0,"hash":""}', b"[" * 10**5],
)
def test_what_is_no_program_is_refused(data: bytes) -> None:
    with pytest.raises(ProgramError):
        decode(data)


def damaged(**changes: Any) -> Program:
    program = program_of(EVERY_OP)
    pc = next(pc for pc, item in enumerate(program.code) if item.op is changes["op"])
    changed = replace(program.code[pc], **{key: value for key, value in changes.items() if key != "op"})
    return replace(program, code=(*program.code[:pc], changed, *program.code[pc + 1 :]))


@pytest.mark.parametrize(
    "changes",
    [
        {"op": Op.IF, "pc": 10**6},
        {"op": Op.IF, "pc": None},
        {"op": Op.JUMP, "pc": 0},
        {"op": Op.JOIN, "pcs": ()},
        {"op": Op.NEXT, "pc": 0},
        {"op": Op.SQL, "node": 99},
        {"op": Op.SQL, "pc": 1},
    ],
)
def test_verify_finds_the_damaged_instruction(changes: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match="instruction"):
        verify(damaged(**changes))


@settings(max_examples=60, deadline=None)
@given(graphs(6))
def test_a_listing_that_was_changed_is_refused_with_words(node: ast.Node) -> None:
    lines = render(program_of(node)).split("\n")
    with pytest.raises(ProgramError):
        assemble("\n".join(lines[:-1]))
