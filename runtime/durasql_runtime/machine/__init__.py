"""Stage 8: the pure machine. `core` is its face, `state` what it consists of, the rest its rules."""

from durasql_runtime.machine.core import Machine
from durasql_runtime.machine.state import COUNTING, WHOLE, Activation, Facts, Finish, Timer, Transition
from durasql_runtime.machine.unwind import BREAK_OUTSIDE

__all__ = [
    "BREAK_OUTSIDE",
    "COUNTING",
    "WHOLE",
    "Activation",
    "Facts",
    "Finish",
    "Machine",
    "Timer",
    "Transition",
]
