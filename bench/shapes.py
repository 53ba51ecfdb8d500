"""The workflows that are measured, and how many of each make a run of a few seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """`text` in durasql's language; one instance counts for `steps`; `parallel` ones run all at once.

    `instances` and `peer_instances` are how many a run takes, for durasql and for the slower peers.
    """

    name: str
    text: str
    steps: int
    instances: int
    peer_instances: int
    parallel: bool = False


def _steps(operator: str) -> str:
    return f" {operator} ".join(f"'SELECT {number}'" for number in range(1, 11))


ONE = Shape("one-step", "SELECT 1", 1, 4000, 500)
TEN = Shape("ten-step", _steps("~>"), 10, 1200, 100)
JOIN = Shape("ten-branch join", _steps("&"), 10, 600, 60, parallel=True)
LOOP = Shape(
    "hundred-iteration loop",
    "'SELECT 0 AS n' |=> 'i' ~> df.loop('SELECT $i + 1 AS n' |=> 'i', 'SELECT $i < 100')",
    201,
    60,
    6,
)
ALL = (ONE, TEN, JOIN, LOOP)
