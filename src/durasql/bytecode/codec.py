"""Program <-> canonical JSON bytes. The same program gives the same bytes on every machine.

    {"format":1,"hash":"…","nodes":[{"t":"SQL","q":"SELECT 1"}],"code":[["SQL",0],["END",0]]}

An instruction is an array: opcode, node, then only what it has: {"pcs":[…],"pc":n,"bind":"name"}.
"""

from __future__ import annotations

import json
from typing import Any

from durasql.bytecode.opcodes import OPCODES, Op
from durasql.bytecode.program import FORMAT, Instruction, NodeInfo, Program
from durasql.errors import FormatFromTheFuture, ProgramError

_NODE_KEYS = (("t", "type"), ("q", "query"), ("n", "name"), ("l", "left"), ("r", "right"), ("c", "condition"))


def encode(program: Program) -> bytes:
    """The program as canonical JSON in UTF-8."""
    document = {
        "format": program.format,
        "hash": program.hash,
        "nodes": [encode_node(node) for node in program.nodes],
        "code": [_encode_instruction(instruction) for instruction in program.code],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode(data: bytes | str) -> Program:
    """Read a program of this or any older format.

    Raises `FormatFromTheFuture` for a newer one and `ProgramError` for anything that is no program.
    """
    try:
        document = json.loads(data)
        stored = document["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProgramError(f"this is not a durasql program: {error}") from None
    if not isinstance(stored, int) or stored < 1:
        raise ProgramError(f"this is not a durasql program: format {stored!r}")
    if stored > FORMAT:
        raise FormatFromTheFuture(
            f"the program has format {stored}, this durasql reads formats up to {FORMAT}",
            hint="upgrade durasql on this machine to the version that wrote the program, or later",
        )
    try:
        return Program(
            format=stored,
            hash=str(document["hash"]),
            nodes=tuple(decode_node(item) for item in document["nodes"]),
            code=tuple(_decode_instruction(item) for item in document["code"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ProgramError(f"the program is damaged: {error!r}") from None


def encode_node(node: NodeInfo) -> dict[str, Any]:
    """One row of the node table, without what it does not have."""
    row: dict[str, Any] = {}
    for key, attribute in _NODE_KEYS:
        if (value := getattr(node, attribute)) is not None:
            row[key] = value
    if node.extras:
        row["x"] = list(node.extras)
    if node.parent is not None:
        row["p"] = node.parent
    return row


def decode_node(row: dict[str, Any]) -> NodeInfo:
    """The inverse of `encode_node`."""
    fields: dict[str, Any] = {attribute: row.get(key) for key, attribute in _NODE_KEYS}
    return NodeInfo(**fields, extras=tuple(row.get("x", ())), parent=row.get("p"))


def _encode_instruction(instruction: Instruction) -> list[Any]:
    rest: dict[str, Any] = {}
    if instruction.pcs:
        rest["pcs"] = list(instruction.pcs)
    if instruction.pc is not None:
        rest["pc"] = instruction.pc
    if instruction.bind is not None:
        rest["bind"] = instruction.bind
    row: list[Any] = [instruction.op.value, instruction.node]
    return [*row, rest] if rest else row


def _decode_instruction(row: list[Any]) -> Instruction:
    op = Op(row[0])
    rest: dict[str, Any] = row[2] if len(row) > 2 else {}
    if op not in OPCODES:
        raise ValueError(f"unknown opcode {op}")
    return Instruction(op, int(row[1]), tuple(rest.get("pcs", ())), rest.get("pc"), rest.get("bind"))
