"""Run the passes over a workflow and sort out what is silenced.

In: a `Workflow` and its source. Out: a `CheckedWorkflow` with warnings and notes, or `CompileError` when
anything is certain to fail. Errors can never be silenced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from durasql.check.passes import PASSES
from durasql.check.shape import Known
from durasql.check.view import View
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.source import Source
from durasql.syntax.ast import Workflow


@dataclass(frozen=True, slots=True)
class CheckedWorkflow:
    """A workflow that may be lowered; `diagnostics` are warnings and notes in the order of the text."""

    workflow: Workflow
    diagnostics: tuple[Diagnostic, ...] = ()


def check(workflow: Workflow, source: Source) -> CheckedWorkflow:
    """Check a parsed workflow. Raises `CompileError` with all findings when one of them is an error."""
    found = findings(workflow, source)
    if any(item.severity is Severity.ERROR for item in found):
        errors = [item for item in found if item.severity is Severity.ERROR]
        others = [item for item in found if item.severity is not Severity.ERROR]
        raise CompileError((*errors, *others))
    return CheckedWorkflow(workflow, found)


def findings(
    workflow: Workflow, source: Source, known: Known | None = None, planned: Iterable[Diagnostic] = ()
) -> tuple[Diagnostic, ...]:
    """Everything the passes have to say and the file does not silence, in the order of the text.

    `known` are shapes and `planned` findings that a server contributed (`store.plan`).
    """
    view = View(workflow, source, known)
    found = [*(item for run in PASSES for item in run(view)), *planned]
    kept = [item for item in dict.fromkeys(found) if not view.allowed.silences(item)]
    return tuple(sorted([*kept, *view.allowed.unknown], key=lambda item: item.span.start if item.span else 0))
