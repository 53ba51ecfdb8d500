"""The pace of loops: `loop_min_interval` seconds from the start of one iteration to the start of the next.

In: transitions of the machine. Out: until when a leaf has to be held back. It is a brake and no timer: after
a crash the iteration under way begins at once.
"""

from __future__ import annotations

import asyncio
import time

from durasql_runtime.journal import Key, State
from durasql_runtime.machine import Transition
from durasql_runtime.settings import Settings


class Pace:
    """When the loops of one instance began their iterations, and which leaves wait for the next one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entered = time.monotonic()
        self._began: dict[int, float] = {}
        self._held: dict[Key, float] = {}

    def turn(self, transition: Transition) -> None:
        """A transition may begin iterations: what it starts is held back until they may."""
        interval = self._settings.loop_min_interval
        if not interval:
            return
        now = time.monotonic()
        for row in transition.rows:
            if row.state is State.LOOPING:
                begins = max(now, self._began.get(row.node, self._entered) + interval)
                self._began[row.node] = begins
                self._held.update({leaf.key: begins for leaf in transition.started})

    def holds(self, key: Key) -> bool:
        """Whether a leaf may not be performed yet."""
        return key in self._held

    async def keep(self, key: Key) -> None:
        """Wait until a leaf may be performed."""
        begins = self._held.pop(key, None)
        if begins is not None:
            await asyncio.sleep(max(0.0, begins - time.monotonic()))
