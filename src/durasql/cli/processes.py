"""Several worker processes under one parent: same options, one asyncio loop and one core each.

In: how many. Out: the exit code. Signals go to all of them; when one ends by itself, so do the others, and
whatever runs the parent starts it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from durasql.telemetry.address import Address

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Processes(click.ParamType[int]):
    """A number of processes, or `auto`: one for each core but one, which the rest of the machine needs."""

    name = "n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "auto":
            return max(1, (os.cpu_count() or 1) - 1)
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a number from 1 on nor auto", param, ctx)
        return number


def run(count: int, arguments: Sequence[str], metrics: Address | None = None) -> int:
    """Run `durasql ARGUMENTS --processes 1` that many times, until all of them have ended.

    Each serves its metrics on a port of its own, counted up from the one that is given.
    """
    # Of an option that is given twice, the last one counts.
    command = [sys.executable, "-m", "durasql", *arguments, "--processes", "1"]
    own = [["--metrics", str(metrics.nth(number))] if metrics else [] for number in range(count)]
    # In sessions of their own, so that a Ctrl-C reaches them once and not twice.
    children = [subprocess.Popen(command + more, start_new_session=True) for more in own]

    def forward(number: int, frame: FrameType | None) -> None:
        _signal(children, number)

    before = [(number, signal.signal(number, forward)) for number in _SIGNALS]
    try:
        return _outlive(children)
    finally:
        _signal(children, signal.SIGKILL)
        for number, handler in before:
            signal.signal(number, handler)


def _outlive(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all; the first that fails takes the others with it. The first exit code that is not 0."""
    pids = {child.pid: child for child in children}
    while pids:
        pid, status = os.wait()
        if pid in pids:
            child = pids.pop(pid)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                # One that drains already takes the second signal as "at once", which is right here.
                _signal(children, signal.SIGTERM)
    failed = next((child.returncode for child in children if child.returncode), 0)
    # Killed by a signal counts as shells count it.
    return failed if failed >= 0 else 128 - failed


def _signal(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        if child.returncode is None:
            child.send_signal(number)
