"""THE opcode table. Encoder, verifier, listing, machine tests and docs/bytecode.md all derive from it.

An instruction belongs to one node of the graph. Leaves take their configuration from that node, so a
step's text is stored once. Values travel in an accumulator: every leaf and every composite leaves its
value there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Operand(StrEnum):
    """What an operand is; program counters are checked by `verify`."""

    PC = "pc"
    PCS = "pcs"


class Guarantee(StrEnum):
    """What a crash can do to the instruction's effects."""

    EXACTLY_ONCE = "exactly once"
    AT_LEAST_ONCE = "at least once"
    NONE = ""


class Op(StrEnum):
    """The opcodes. The first seventeen are the node types of the language."""

    SQL = "SQL"
    THEN = "THEN"
    IF = "IF"
    JOIN = "JOIN"
    LOOP = "LOOP"
    BREAK = "BREAK"
    RACE = "RACE"
    SLEEP = "SLEEP"
    WAIT_SCHEDULE = "WAIT_SCHEDULE"
    HTTP = "HTTP"
    HTTP_MULTIPART = "HTTP_MULTIPART"
    SIGNAL = "SIGNAL"
    RETRY = "RETRY"
    TIMEOUT = "TIMEOUT"
    CATCH = "CATCH"
    FINALLY = "FINALLY"
    UNDO = "UNDO"
    IF_ROWS = "IF_ROWS"
    END_IF = "END_IF"
    JUMP = "JUMP"
    END = "END"
    WHILE = "WHILE"
    NEXT = "NEXT"
    TRY = "TRY"


GUARDS: Final = (Op.RETRY, Op.TIMEOUT, Op.CATCH, Op.FINALLY, Op.UNDO)
"""What says how a subtree fails. Each of its children is a strand of its own, as in a JOIN."""


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One row of the table."""

    op: Op
    operands: tuple[Operand, ...]
    guarantee: Guarantee
    leaf: bool
    meaning: str


_ROWS: Final = (
    OpSpec(
        Op.SQL,
        (),
        Guarantee.EXACTLY_ONCE,
        True,
        "Run the statement as the submitting role; its rows are the value.",
    ),
    OpSpec(Op.THEN, (), Guarantee.NONE, False, "The sequence is over; its value is its second step's."),
    OpSpec(
        Op.IF,
        (Operand.PC,),
        Guarantee.NONE,
        False,
        "Go on if the condition's value is true, else jump to the operand.",
    ),
    OpSpec(
        Op.JOIN,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Start a strand at each pc of the list; when all have ended, go on at the operand with their values.",
    ),
    OpSpec(
        Op.LOOP,
        (Operand.PC,),
        Guarantee.NONE,
        False,
        "Enter generation 1 of the loop; the operand is the pc after it.",
    ),
    OpSpec(Op.BREAK, (), Guarantee.NONE, False, "Leave the innermost loop with the configured value."),
    OpSpec(
        Op.RACE,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Start a strand at each pc of the list; the first to end decides and the other is cancelled.",
    ),
    OpSpec(
        Op.SLEEP,
        (),
        Guarantee.EXACTLY_ONCE,
        True,
        "Wait for a number of seconds; the deadline is kept over restarts.",
    ),
    OpSpec(
        Op.WAIT_SCHEDULE, (), Guarantee.EXACTLY_ONCE, True, "Wait for the next tick of a cron expression."
    ),
    OpSpec(
        Op.HTTP,
        (),
        Guarantee.AT_LEAST_ONCE,
        True,
        "Send a request; every attempt carries the same Idempotency-Key.",
    ),
    OpSpec(
        Op.HTTP_MULTIPART,
        (),
        Guarantee.AT_LEAST_ONCE,
        True,
        "Send a multipart/form-data request; every attempt carries the same Idempotency-Key.",
    ),
    OpSpec(Op.SIGNAL, (), Guarantee.EXACTLY_ONCE, True, "Wait for a signal, or for the timeout."),
    OpSpec(
        Op.RETRY,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the body at the pc of the list; when it fails, wait and run it again, as often as configured.",
    ),
    OpSpec(
        Op.TIMEOUT,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the body at the pc of the list; when its time is up, cancel it and fail.",
    ),
    OpSpec(
        Op.CATCH,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the body at the first pc; when it fails, run the handler at the second one with $error bound.",
    ),
    OpSpec(
        Op.FINALLY,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the body at the first pc, then the cleanup at the second one, however the body ended.",
    ),
    OpSpec(
        Op.UNDO,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the body at the first pc; once it has completed, keep the second one for a later failure.",
    ),
    OpSpec(
        Op.IF_ROWS,
        (Operand.PC,),
        Guarantee.NONE,
        False,
        "Go on if the named result has rows, else jump to the operand.",
    ),
    OpSpec(
        Op.END_IF, (), Guarantee.NONE, False, "The choice is over; its value is that of the branch taken."
    ),
    OpSpec(Op.JUMP, (Operand.PC,), Guarantee.NONE, False, "Go on at the operand."),
    OpSpec(Op.END, (), Guarantee.NONE, False, "The strand, or the program, is over."),
    OpSpec(
        Op.WHILE,
        (),
        Guarantee.NONE,
        False,
        "The loop's body is over; remember its value and judge the condition that follows.",
    ),
    OpSpec(
        Op.NEXT,
        (Operand.PC,),
        Guarantee.NONE,
        False,
        "Begin the next generation of the loop at the operand, or leave it when its condition is false.",
    ),
    OpSpec(
        Op.TRY,
        (Operand.PCS, Operand.PC),
        Guarantee.NONE,
        False,
        "Run the loop's body as a strand; when it fails, count the failure and go on at the operand.",
    ),
)

OPCODES: Final[dict[Op, OpSpec]] = {row.op: row for row in _ROWS}
