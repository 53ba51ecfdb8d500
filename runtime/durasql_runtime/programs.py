"""Programs by hash: loaded once, compiled once, never changed. The one seam to the compiler is
`compile_graph`.
"""

from __future__ import annotations

from collections import OrderedDict

from durasql.bytecode.codec import decode, encode
from durasql.bytecode.program import Program
from durasql.bytecode.verify import verify
from durasql.pipeline import compile_graph
from durasql_runtime.claims import Claim, Control

_CACHED = 1_000
"""Programs kept in memory; a program is a few kilobytes."""


class Programs:
    """The programs that a worker's instances run."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._cache: OrderedDict[tuple[int, str], Program] = OrderedDict()

    async def of(self, claim: Claim) -> Program:
        """The claim's program. Raises `ProgramError` or `CompileError` when it cannot be run."""
        key = (claim.owner, claim.program)
        program = self._cache.get(key)
        if program is None:
            program = self._cache[key] = await self._load(*key)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return program

    async def _load(self, owner: int, program_hash: str) -> Program:
        graph, code = await self._control.program(owner, program_hash)
        if code is None:
            compiled = compile_graph(graph)
            code = await self._control.store_code(
                owner, program_hash, compiled.format, encode(compiled).decode()
            )
        return verify(decode(code))
