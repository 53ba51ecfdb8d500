"""What completed can turn out to have been in vain: register its undo, and run what is registered.

A scope is the body of a df.catch, an attempt of a df.retry, a branch that lost a race, or the whole instance.
When a failure leaves it for good, the undos of what completed inside run one after the other, the latest
first. The cleanup of a df.finally whose body was cut off is one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from durasql_runtime.journal import Names, UndoRow, UndoState
from durasql_runtime.machine.state import Execution, Finish
from durasql_runtime.machine.strands import Broke, Ended, Fork, Strand
from durasql_runtime.outcome import Done, Failed

ERROR: Final = "error"
"""The name that a handler, a cleanup and an undo know the failure by."""
_BREAK_IN_UNDO: Final = "df.break() cannot leave an undo step"


def register(ex: Execution, node: int, gen: str, names: dict[str, Done]) -> None:
    """From now on there is something to be undone; it keeps the names that its text mentions."""
    if (node, gen) in ex.undos:
        return  # it was part of an undo that was cut off, and will be again
    texts = _texts(ex, ex.child(node, 1))
    kept = {name: value for name, value in names.items() if re.search(rf"\b{name}\b", texts)}
    ex.undo(UndoRow(node, gen, UndoState.READY, Names(kept).to_json()))


def compensate(
    ex: Execution, anchor: Strand, root: int, gen: str, reason: Failed, then: Callable[[], None]
) -> None:
    """Undo what completed below the node `root` in a generation, then go on. One that fails for good stops
    the instance: those before it may rest on it.
    """
    undo = _latest(ex, root, gen)
    if undo is None:
        then()
        return
    if undo.state is UndoState.FAILED:
        _stuck(ex, Failed.from_json(undo.error or "{}"), reason)
        return

    def ended(fork: Fork, index: int) -> None:
        ex.undoing.pop(undo.key, None)
        end = fork.branches[index].end
        if isinstance(end, Ended):
            ex.undo(replace(undo, state=UndoState.DONE))
            compensate(ex, anchor, root, gen, reason, then)
            return
        failure = Failed(_BREAK_IN_UNDO) if isinstance(end, Broke) or end is None else end
        ex.undo(replace(undo, state=UndoState.FAILED, error=failure.to_json()))
        _stuck(ex, failure, reason)

    names = {**Names.from_json(undo.names or "{}").values, ERROR: reason.row()}
    fork = ex.undoing[undo.key] = Fork(ex.guards[undo.node], anchor, ended)
    ex.branch(fork, 1, names=names, gen=undo.gen)


def _latest(ex: Execution, root: int, gen: str) -> UndoRow | None:
    """What completed last below a node and is not undone. What is not written yet comes after all that is."""
    left = [undo for undo in ex.undos.values() if undo.state is not UndoState.DONE]
    inside = [(undo.seq or math.inf, at) for at, undo in enumerate(left) if _within(ex, undo, root, gen)]
    return left[max(inside)[1]] if inside else None


def _stuck(ex: Execution, failure: Failed, reason: Failed) -> None:
    message = f"Undo failed: {failure.message}"
    ex.finished = Finish(
        replace(failure, message=message, detail=f"It ran because of: {reason.message}"), "stuck"
    )


def _within(ex: Execution, undo: UndoRow, root: int, gen: str) -> bool:
    inside = not gen or undo.gen == gen or undo.gen.startswith(gen + ".")
    return inside and _is_below(ex, undo.node, root)


def _is_below(ex: Execution, node: int | None, root: int) -> bool:
    while node is not None and node > root:
        node = ex.program.nodes[node].parent
    return node == root


def _texts(ex: Execution, root: int) -> str:
    """All that the steps from `root` downwards say; numbers are given in pre-order."""
    texts = []
    for number in range(root, len(ex.program.nodes)):
        if not _is_below(ex, number, root):
            break
        texts.append(ex.program.nodes[number].query or "")
    return "\n".join(texts)
