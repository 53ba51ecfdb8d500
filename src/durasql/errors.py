"""The error tree. Every error knows its code, how to show itself and the exit code it asks for.

    DurasqlError
    |- NotInstalled          exit 2   E002 an optional package is missing
    |- CannotListen          exit 2   E003 an address that a worker shall serve metrics on
    |- CompileError          exit 2   E1xx syntax, E2xx check, E3xx limits: carries Diagnostics
    |- ProgramError          exit 2   E4xx a stored or assembled program that cannot be used
    |- StoreError                     E5xx the database and what it holds
    |  |- DatabaseUnreachable exit 5
    |  |- SchemaMissing       exit 5
    |  |- NotFound            exit 2
    |- RunError                       R6xx a step or a run went wrong
       |- RunFailed           exit 1
       |- RunCancelled        exit 3
       |- RunTimedOut         exit 4

Codes are stable: docs/errors.md is generated from the registries (`check.codes` for diagnostics, this
tree for the rest) and a code is never given a second meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from durasql.source import Source, Span


class Severity(StrEnum):
    """How bad a diagnostic is; only errors stop a compilation."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding in a source text: where, what, what was expected, what to do."""

    code: str
    severity: Severity
    message: str
    source: Source
    span: Span | None = None
    hint: str | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, or only the file where the finding has no place."""
        if self.span is None:
            return self.source.name
        at = self.source.position(self.span.start)
        return f"{self.source.name}:{at.line}:{at.column}"


class DurasqlError(Exception):
    """The root: a message, a stable code, a hint that tells what to do."""

    code: ClassVar[str] = "E000"
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotInstalled(DurasqlError):
    """What was asked for comes with an extra that is not installed."""

    code = "E002"


class CannotListen(DurasqlError):
    """An address to serve metrics on that is taken, or not this machine's."""

    code = "E003"


class CompileError(DurasqlError):
    """A text that is no valid workflow; `diagnostics` has every finding, the errors first."""

    code = "E100"

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        first = diagnostics[0]
        super().__init__(f"{first.place}: {first.severity} {first.code}: {first.message}", hint=first.hint)
        self.diagnostics = diagnostics


class ProgramError(DurasqlError):
    """A program that cannot be decoded, verified or run."""

    code = "E400"


class FormatFromTheFuture(ProgramError):
    """A program written by a newer durasql."""

    code = "E401"


class StoreError(DurasqlError):
    """The database refused, or what it holds is not what durasql needs."""

    code = "E500"


class DatabaseUnreachable(StoreError):
    """No connection could be made."""

    code = "E501"
    exit_code = 5


class SchemaMissing(StoreError):
    """The database has no schema df, or one of another version."""

    code = "E502"
    exit_code = 5


class NotFound(StoreError):
    """No such instance, or not visible to this role."""

    code = "E503"


class PermissionDenied(StoreError):
    """The role lacks a privilege."""

    code = "E504"


class RunError(DurasqlError):
    """Something went wrong while a workflow ran."""

    code = "R600"
    exit_code = 1


class RunFailed(RunError):
    """The instance failed; the message is the failed step's."""

    code = "R601"


class RunCancelled(RunError):
    """The instance was cancelled."""

    code = "R602"
    exit_code = 3


class RunTimedOut(RunError):
    """The instance did not finish in the time the caller gave it; it goes on running."""

    code = "R603"
    exit_code = 4


class LeaseLost(RunError):
    """Another worker holds the instance now, or it was cancelled: nothing may be written."""

    code = "R610"
