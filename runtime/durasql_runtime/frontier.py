"""How far a worker has searched the queue of due instances, so that it need not always begin at its head.

In: how long searches take, and what they claimed. Out: where the next one is to begin. Whatever was claimed
leaves a dead entry at the head of the queue's index, and while any transaction of the server is old enough to
see it, every search from the head steps over all of them. What was left behind (it was locked, or its
transaction was long to commit) is found by searching the whole queue, for a tenth of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_SHARE: Final = 10
"""A search that may be long is followed by so many times its own length without another."""


class Ration:
    """Lets something be done again and again, for a tenth of the time."""

    def __init__(self) -> None:
        self._from = 0.0

    @property
    def wait(self) -> float:
        """Seconds until it may be done again."""
        return max(0.0, self._from - _now())

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around what is done."""
        began = _now()
        yield
        self._from = _now() + _SHARE * (_now() - began)


_LONG_AGO: Final = 1.0
"""Seconds after which the whole queue is searched though there is enough to do at the frontier."""


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
        self._whole = Ration()
        self._whole_at = 0.0
        self._partial = False
        self.short = False
        """Whether the last search found less than was wanted; to be set by whoever searches."""

    @contextmanager
    def search(self) -> Iterator[Place | None]:
        """Around a search: where it is to begin, None for the head of the queue.

        New work is found at the frontier, so that is looked at first, and the whole queue afterwards, or
        when that was long ago.
        """
        late = (self._partial and self.short) or _now() - self._whole_at > _LONG_AGO
        self._partial = self.place is not None and not (late and self._whole.wait <= 0)
        if self._partial:
            yield self.place
            return
        with self._whole.spending():
            yield None
        self._whole_at = _now()

    @property
    def pause(self) -> float | None:
        """Seconds until the whole queue may be searched, None when the last search was of the whole."""
        return self._whole.wait if self._partial else None


def _now() -> float:
    return asyncio.get_running_loop().time()
