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

_CACHED_BYTES = 32 * 1024 * 1024
"""Bytecode of the programs kept in memory, as text; a program is a few kilobytes, but may be megabytes."""


class Programs:
    """The programs that a worker's instances run."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._cache: OrderedDict[tuple[int, str], tuple[Program, int]] = OrderedDict()
        self._size = 0

    async def of(self, claim: Claim) -> Program:
        """The claim's program. Raises `ProgramError` or `CompileError` when it cannot be run."""
        key = (claim.owner, claim.program)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found[0]
        program, size = await self._load(*key)
        self._size += size - self._cache.pop(key, (program, 0))[1]
        self._cache[key] = program, size
        while self._size > _CACHED_BYTES:
            self._size -= self._cache.popitem(last=False)[1][1]
        return program

    async def _load(self, owner: int, program_hash: str) -> tuple[Program, int]:
        graph, code = await self._control.program(owner, program_hash)
        if code is None:
            compiled = compile_graph(graph)
            code = await self._control.store_code(
                owner, program_hash, compiled.format, encode(compiled).decode()
            )
        return verify(decode(code)), len(code)
