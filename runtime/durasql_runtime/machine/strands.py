"""The moving parts of the machine: strands, loop frames and forks. Plain state, no decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from durasql.bytecode.program import Instruction
from durasql_runtime.outcome import Done, Failed

NULL = Done("null")
NOWHERE = -1
"""The source of a value that no node gave."""


@dataclass(slots=True)
class Frame:
    """A loop that a strand is inside of. `bound` are the names bound since it was entered, in order;
    `failures` the generations that failed, of a loop that goes on all the same; `failed` whether the
    current one did.
    """

    loop_pc: int
    node: int
    count: int = 1
    bound: dict[str, None] = field(default_factory=dict)
    body: tuple[Done, int] | None = None
    failures: int | None = None
    failed: bool = False

    @property
    def attempts(self) -> int:
        """What the loop's row says about tries: of one that goes on after failures, their number."""
        return 1 if self.failures is None else self.failures


@dataclass(frozen=True, slots=True)
class Ended:
    """A strand came to its END; `source` is the node that gave the value."""

    value: Done
    source: int


@dataclass(frozen=True, slots=True)
class Broke:
    """A break left the strand."""

    value: Done


End: TypeAlias = Ended | Broke | Failed


@dataclass(eq=False, slots=True)
class Strand:
    """One line of execution: a pc, an accumulator, the names it sees, the loops it is in."""

    pc: int
    value: Done = NULL
    source: int = 0
    names: dict[str, Done] = field(default_factory=dict)
    bound: dict[str, None] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    parent: Fork | None = None
    index: int = 0
    base_gen: str = ""
    dead: bool = False

    @property
    def gen(self) -> str:
        """The counters of all loops around this strand, outermost first."""
        return self.gen_at(len(self.frames))

    def gen_at(self, depth: int) -> str:
        """The counters around the strand and its `depth` outermost own loops."""
        if not depth:
            return self.base_gen
        own = ".".join(str(frame.count) for frame in self.frames[:depth])
        return f"{self.base_gen}.{own}" if self.base_gen else own

    def deliver(self, value: Done, source: int) -> None:
        """Put a value into the accumulator."""
        self.value, self.source = value, source

    def bind(self, name: str | None, value: Done) -> None:
        """Bind a named result; loops and branches remember it for carrying and merging."""
        if name is None:
            return
        self.names[name] = value
        self.bound[name] = None
        for frame in self.frames:
            frame.bound[name] = None

    def merge(self, branch: Strand) -> None:
        """Take over the names that a finished branch bound itself."""
        for name in branch.bound:
            self.bind(name, branch.names[name])

    def inside(self, other: Strand) -> bool:
        """Whether this strand is `other` or was forked below it."""
        strand: Strand | None = self
        while strand is not None and strand is not other:
            strand = strand.parent.strand if strand.parent else None
        return strand is other


@dataclass(eq=False, slots=True)
class Branch:
    """One arm of a fork; `root` is the node it executes, `end` how it ended."""

    strand: Strand
    root: int
    end: End | None = None


@dataclass(eq=False, slots=True)
class Fork:
    """A strand that waits for others. `on_end` is told each time a branch is over, by its index."""

    instruction: Instruction
    strand: Strand
    on_end: OnEnd
    branches: list[Branch] = field(default_factory=list)


OnEnd: TypeAlias = Callable[[Fork, int], None]
