"""What the interpreter hands to an HTTP step, and how the parts of the step say that it failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from durasql_runtime.outcome import Failed
from durasql_runtime.policy import NodeType


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP instruction that is ready.

    `query` is the node's config, nothing substituted. `substitution` resolves `{vars}` and `$names` in raw
    mode, `whole_value` resolves a text that is exactly one reference and returns None for any other; both
    raise SubstituteError. Instance, node and generation make the Idempotency-Key.
    """

    node_type: NodeType
    query: str
    role: str
    instance_id: str
    node: int
    gen: str
    substitution: Callable[[str], str]
    whole_value: Callable[[str], str | None]

    @property
    def is_multipart(self) -> bool:
        return self.node_type == "HTTP_MULTIPART"


class StepFailed(Exception):
    """Ends the step. `failed` is the outcome, its secrets not yet hidden."""

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        http_status: int | None = None,
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failed = Failed(
            message, detail=detail, hint=hint, http_status=http_status, reason=reason, retry_after=retry_after
        )


class Blocked(StepFailed):
    """Refused by privilege or policy; nothing was sent."""

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, detail=detail, hint=hint, reason="blocked")


class Invalid(StepFailed):
    """What the step says can never be sent."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, reason="invalid")
