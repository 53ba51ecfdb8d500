"""A listing -> the program it shows, byte for byte.

The code is structured, so the graph can be read back from it: leaves push, THEN folds, forks and loops are
blocks. The graph is lowered again, and the listing of the result must be the listing that was given.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from durasql.bytecode import configs
from durasql.bytecode.listing import render
from durasql.bytecode.opcodes import GUARDS, OPCODES, Op
from durasql.bytecode.program import Program
from durasql.errors import ProgramError
from durasql.lower.emit import lower
from durasql.syntax.envelope import EnvelopeError, decode

Envelope: TypeAlias = dict[str, Any]

_LINE: Final = re.compile(
    r" (?P<pc>\d{4,})  (?P<op>\w+)\s*(?P<operands>.*?)\s*(?:=> (?P<bind>\w+))?\s*"
    r"(?:exactly once|at least once)?"
)
_NUMBER: Final = re.compile(r"\d{4,}")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the listing, taken apart."""

    op: Op
    text: str
    targets: tuple[int, ...]
    config: str | None
    bind: str | None


def assemble(listing: str) -> Program:
    """The program of a listing. Raises `ProgramError` naming the line that cannot be read."""
    lines = listing.rstrip("\n").split("\n")
    code = [_parse(line, number) for number, line in enumerate(lines[2:], start=3)]
    try:
        envelope = _Reader(code).whole()
        program = lower(decode(json.dumps(envelope)))
    except IndexError:
        raise ProgramError("the listing is no whole program: a block does not end") from None
    except EnvelopeError as error:
        raise ProgramError(f"the listing shows no possible graph: {error}") from None
    if render(program) != "\n".join(lines):
        raise ProgramError("the listing was changed in a way that no program has")
    return program


def _parse(line: str, number: int) -> _Line:
    match = _LINE.fullmatch(line)
    if match is None or match["op"] not in Op.__members__:
        raise ProgramError(f"line {number} of the listing is no instruction: {line.strip()!r}")
    op, operands = Op(match["op"]), match["operands"]
    text, config = operands, None
    if operands.startswith('"'):
        text, end = json.JSONDecoder().raw_decode(operands)
        operands = operands[end:]
    elif OPCODES[op].leaf or op is Op.BREAK:
        operands = ""
    elif op in GUARDS:
        operands, _, words = operands.partition("  ")
        config = _configuration(op, words, number)
    if " config " in operands:
        operands, _, raw = operands.partition(" config ")
        config = json.loads(raw)
    targets = tuple(int(target) for target in _NUMBER.findall(operands))
    if op is Op.SLEEP:
        text = text.removesuffix(" s")
    return _Line(op, text, targets, config, match["bind"])


def _configuration(op: Op, words: str, number: int) -> str | None:
    """The `query` of a guard, from the words behind its branches."""
    try:
        if words.startswith("config "):
            return str(json.loads(words.removeprefix("config ")))
        return configs.read(op, words)
    except KeyError:
        return None
    except ValueError as error:
        raise ProgramError(f"line {number} of the listing: {error}") from None


class _Reader:
    """Reads blocks into envelopes; a block's nodes are folded on a stack until one is left."""

    def __init__(self, code: list[_Line]) -> None:
        self._code = code
        self._pc = 0

    def whole(self) -> Envelope:
        node = self._block()
        if self._code[self._pc].op is not Op.END or self._pc != len(self._code) - 1:
            raise ProgramError("the listing does not end where its program does")
        return node

    def _block(self) -> Envelope:
        """Nodes up to the END, JUMP, END_IF, WHILE or NEXT that closes the block; the pc stays on it."""
        stack: list[Envelope] = []
        while (line := self._code[self._pc]).op not in _CLOSERS:
            self._pc += 1
            if line.op is Op.THEN:
                second, first = stack.pop(), stack.pop()
                stack.append(_node("THEN", line.bind, left_node=first, right_node=second))
            elif line.op is Op.IF:
                stack.append(self._choice(line, line.config, stack.pop()))
            elif line.op is Op.IF_ROWS:
                stack.append(self._choice(line, _rows_config(line), None))
            else:
                stack.append(self._other(line))
        if len(stack) != 1:
            raise ProgramError(f"the block that ends at {self._pc:04d} leaves {len(stack)} values, not one")
        return stack[0]

    def _other(self, line: _Line) -> Envelope:
        if line.op in (Op.JOIN, Op.RACE):
            return self._fork(line)
        if line.op in GUARDS:
            return self._guard(line)
        if line.op is Op.LOOP:
            return self._loop(line)
        return _node(line.op.value, line.bind, query=line.text)

    def _choice(self, line: _Line, config: str | None, condition: Envelope | None) -> Envelope:
        then = self._block()
        self._pc += 1
        otherwise = self._block()
        name = self._code[self._pc].bind
        self._pc += 1
        arms = {"left_node": then, "right_node": otherwise, "condition_node": condition}
        return _node("IF", name, **arms, query=config)

    def _fork(self, line: _Line) -> Envelope:
        branches = [self._strand() for _ in line.targets[:-1]]
        return _node(
            line.op.value,
            line.bind,
            left_node=branches[0],
            right_node=branches[1],
            extra_nodes=branches[2:] or None,
            query=line.config,
        )

    def _guard(self, line: _Line) -> Envelope:
        children = [self._strand() for _ in line.targets[:-1]]
        below = dict(zip(("left_node", "right_node"), children, strict=False))
        return _node(line.op.value, line.bind, **below, query=line.config)

    def _strand(self) -> Envelope:
        node = self._block()
        self._pc += 1
        return node

    def _loop(self, line: _Line) -> Envelope:
        config = line.config
        if self._code[self._pc].op is Op.TRY:
            self._pc += 1
            config = configs.CONTINUE_ON_FAILURE
            body = self._strand()
        else:
            body = self._block()
        condition = None
        if self._code[self._pc].op is Op.WHILE:
            self._pc += 1
            condition = self._block()
        self._pc += 1
        return _node("LOOP", line.bind, left_node=body, condition_node=condition, query=config)


_CLOSERS: Final = frozenset({Op.END, Op.JUMP, Op.END_IF, Op.WHILE, Op.NEXT})


def _rows_config(line: _Line) -> str:
    """The configuration of IF_ROWS: `$name`, or the text that is no builder's."""
    name = line.text.partition(" else ")[0]
    return configs.read(Op.IF_ROWS, name) if name.startswith("$") else line.text


def _node(kind: str, name: str | None, **fields: Any) -> Envelope:
    members = {"node_type": kind, **fields, "result_name": name}
    return {key: value for key, value in members.items() if value is not None}
