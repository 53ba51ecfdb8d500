"""Places that those who wait for one get in turn, owner by owner.

In: who wants a place, on whose behalf. Out: the order. A workflow with thousands of branches that are ready
waits thousands of times; one that has a single step is next but one.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """A semaphore whose waiters are served round robin by owner, and first come first served within each."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def acquire(self, owner: str) -> None:
        """Take a place, or wait for one."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            else:
                self._forget(owner, turn)
            raise

    def release(self) -> None:
        """Give a place back: to the first of the next owner's, if anybody waits."""
        while self._waiting:
            turn = self._next()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None]:
        owner = next(iter(self._waiting))
        queue = self._waiting.pop(owner)
        turn = queue.popleft()
        if queue:
            self._waiting[owner] = queue
        return turn

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(owner)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[owner]
