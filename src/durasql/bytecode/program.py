"""The program: a node table and a flat list of instructions, both immutable.

In: `lower` and `codec` make programs. Out: the machine, the listing and the store read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from durasql.bytecode.opcodes import Op

FORMAT: Final = 1
"""The format this version writes. Readers accept every format up to it, for ever."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node of the graph; children are node numbers, `query` is a leaf's text or configuration."""

    type: str
    query: str | None = None
    name: str | None = None
    left: int | None = None
    right: int | None = None
    condition: int | None = None
    extras: tuple[int, ...] = ()
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """`op operands`, for node `node`, binding its value to `bind` when it is over."""

    op: Op
    node: int
    pcs: tuple[int, ...] = ()
    pc: int | None = None
    bind: str | None = None


@dataclass(frozen=True)
class Program:
    """What an instance runs. `hash` is the SHA-256 of the graph's canonical envelope, in hex."""

    format: int
    hash: str
    nodes: tuple[NodeInfo, ...]
    code: tuple[Instruction, ...]
