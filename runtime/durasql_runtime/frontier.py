"""How far a worker has searched the queue of due instances, so that it need not always begin at its head.

In: when a search began and ended, and what it claimed. Out: where the next one may begin. Whatever was
claimed leaves a dead entry at the head of the queue's index, and while any transaction of the server is old
enough to see it, every search from the head steps over all of them. What was left behind (it was locked, or
its transaction was long to commit) is found by searching the whole queue, for a tenth of the time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

_SHARE: Final = 10
"""A search of the whole queue is followed by so many times its own length without one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue: since when due (as PostgreSQL writes it), and the instance's id."""

    since: str
    id: str


class Frontier:
    """The place of the instance that was claimed last."""

    def __init__(self) -> None:
        self.place: Place | None = None
        """Up to here nothing is left to claim, but for what a search of the whole queue may find."""
        self._began = 0.0
        self._partial = False
        self._whole_from = 0.0

    def begin(self) -> Place | None:
        """Begin a search; where, None for the head of the queue."""
        self._began = _now()
        return None if self._began >= self._whole_from else self.place

    def end(self, origin: Place | None, last: Place | None) -> None:
        """End a search that began at `origin` and claimed up to `last` (None: nothing)."""
        self._partial = origin is not None
        if not self._partial:
            self._whole_from = _now() + _SHARE * (_now() - self._began)
        self.place = last or self.place

    @property
    def pause(self) -> float | None:
        """Seconds until the whole queue may be searched, None when the last search was of the whole."""
        return max(0.0, self._whole_from - _now()) if self._partial else None


def _now() -> float:
    return asyncio.get_running_loop().time()
