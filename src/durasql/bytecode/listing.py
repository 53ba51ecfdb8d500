"""The listing: a program as people read it. `lower.assemble` reads it back to the same bytes.

    durasql program 1 · 6f1c0a… · 3 instructions
     pc    op    operands        binds     guarantee
     0000  SQL   SELECT 1        => one    exactly once
     0001  SQL   SELECT $one + 1           exactly once
     0002  THEN
     0003  END

A text is shown bare where that is unambiguous, else as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from durasql.bytecode.configs import CONTINUE_ON_FAILURE, phrase
from durasql.bytecode.guarantee import guarantee_of
from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Instruction, NodeInfo, Program

HEADER: Final = "durasql program {format} · {hash} · {count} instructions"
_TITLES: Final = ("pc", "op", "operands", "binds", "guarantee")
_BARE: Final = re.compile(r"(?!\")[^\s\x00-\x1f]+(?: [^\s\x00-\x1f]+)*")
_AMBIGUOUS: Final = re.compile(r"=>|exactly once|at least once| config \"")


def render(program: Program) -> str:
    """The listing of a program, columns aligned, without a trailing newline."""
    rows = [_TITLES, *(_row(program, pc) for pc in range(len(program.code)))]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    widths[2] = min(widths[2], 60)
    lines = [HEADER.format(format=program.format, hash=program.hash, count=len(program.code))]
    lines.extend(_line(row, widths) for row in rows)
    return "\n".join(lines)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return (" " + "  ".join([*cells, row[4]])).rstrip()


def _row(program: Program, pc: int) -> tuple[str, ...]:
    instruction = program.code[pc]
    node = program.nodes[instruction.node]
    binds = f"=> {instruction.bind}" if instruction.bind else ""
    guarantee = str(guarantee_of(instruction, node))
    return f"{pc:04d}", instruction.op.value, _operands(instruction, node), binds, guarantee


def _operands(instruction: Instruction, node: NodeInfo) -> str:
    shown = _SHOWN.get(instruction.op, _nothing)(instruction, node)
    if instruction.op in _KEPT and node.query not in (None, CONTINUE_ON_FAILURE):
        return f"{shown} config {json.dumps(node.query, ensure_ascii=False)}"
    return shown


def quoted(text: str) -> str:
    """The text bare when that cannot be misread, else as a JSON string."""
    if _BARE.fullmatch(text) and not _AMBIGUOUS.search(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _nothing(_: Instruction, __: NodeInfo) -> str:
    return ""


def _text(_: Instruction, node: NodeInfo) -> str:
    return quoted(node.query or "")


def _seconds(_: Instruction, node: NodeInfo) -> str:
    query = node.query or ""
    return f"{query} s" if re.fullmatch(r"0|[1-9][0-9]*", query) else quoted(query)


def _target(instruction: Instruction, _: NodeInfo) -> str:
    return f"{instruction.pc:04d}"


def _otherwise(instruction: Instruction, _: NodeInfo) -> str:
    return f"else {instruction.pc:04d}"


def _rows(instruction: Instruction, node: NodeInfo) -> str:
    name = phrase(Op.IF_ROWS, node.query) or json.dumps(node.query, ensure_ascii=False)
    return f"{name} else {instruction.pc:04d}"


def _branches(instruction: Instruction, _: NodeInfo) -> str:
    return " ".join(f"{pc:04d}" for pc in instruction.pcs) + f" -> {instruction.pc:04d}"


def _guard(instruction: Instruction, node: NodeInfo) -> str:
    shown = _branches(instruction, node)
    words = phrase(instruction.op, node.query)
    if words is None and node.query is not None:
        words = f"config {json.dumps(node.query, ensure_ascii=False)}"
    return f"{shown}  {words}" if words else shown


def _exit(instruction: Instruction, _: NodeInfo) -> str:
    return f"exit {instruction.pc:04d}"


_SHOWN: Final[dict[Op, Callable[[Instruction, NodeInfo], str]]] = {
    Op.SQL: _text,
    Op.SLEEP: _seconds,
    Op.WAIT_SCHEDULE: _text,
    Op.HTTP: _text,
    Op.HTTP_MULTIPART: _text,
    Op.SIGNAL: _text,
    Op.BREAK: _text,
    Op.IF: _otherwise,
    Op.IF_ROWS: _rows,
    Op.JUMP: _target,
    Op.JOIN: _branches,
    Op.RACE: _branches,
    Op.LOOP: _exit,
    Op.NEXT: _target,
    Op.RETRY: _guard,
    Op.TIMEOUT: _guard,
    Op.CATCH: _guard,
    Op.FINALLY: _guard,
    Op.UNDO: _guard,
    Op.TRY: _branches,
}
_KEPT: Final = (Op.IF, Op.JOIN, Op.LOOP)
"""Composites that may carry a configuration written by hand; TRY already says the one that df.loop writes."""
