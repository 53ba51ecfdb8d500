"""What can come between a step and its commit, and what a refusal is called."""

from __future__ import annotations

from typing import Final

from durasql_runtime.journal import Key
from durasql_runtime.outcome import Failed
from durasql_runtime.session import StepRefused

CONFLICTS: Final = frozenset({"40001", "40P01"})
"""What is refused for these succeeds when it is tried again, such as when two runs signal each other."""


class CommitRefused(Exception):
    """The step ran but could not commit; the machine must forget that it was done."""

    def __init__(self, key: Key, failure: Failed) -> None:
        super().__init__(failure.message)
        self.key = key
        self.failure = failure


class StepLost(Exception):
    """A connection broke under a step; it is not known whether the step committed, the journal is."""

    def __init__(self, key: Key, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class HandOver(Exception):
    """The worker drains: the instance goes back."""


def failure_of(error: StepRefused) -> Failed:
    """PostgreSQL's refusal in the words of the language."""
    server = error.error
    return Failed(
        f"SQL execution failed: error returned from database: {server.message}",
        sqlstate=server.sqlstate,
        detail=server.detail,
        hint=server.hint,
        position=server.position,
        sql=error.statement,
    )
