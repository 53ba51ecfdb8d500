"""What a step can refer to, and the error for what it cannot.

The machine makes a `Scope` for every step that is about to run; `substitute` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from durasql.errors import RunError


class SubstituteError(RunError):
    """A reference that cannot be resolved, or a value that cannot stand where it was asked for."""

    code = "R620"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a step can refer to.

    `names`: result name -> compact JSON text. `columns`: for results whose rows do not tell, name ->
    (column, type) as `results.StepResult.columns` has them. `variables`: the snapshot taken by df.start.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    instance_id: str = ""
    label: str | None = None
    columns: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)

    def variable(self, name: str) -> str | None:
        """The text of `{name}`; the system's names shadow the user's."""
        if name == "sys_instance_id":
            return self.instance_id
        if name == "sys_label":
            return self.label or ""
        return self.variables.get(name)
