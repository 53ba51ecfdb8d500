"""Configurations of the pure nodes, read where the machine needs them: `df.if_rows` and `df.break`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.substitute import Scope, SubstituteError, substitute_break


def has_rows(config: str, names: Mapping[str, Done]) -> bool | Failed:
    """Whether the result that `df.if_rows` names has rows."""
    name = _field(config, "result_name")
    if not isinstance(name, str):
        return Failed("Invalid df.if_rows config: missing field `result_name`")
    if name not in names:
        return Failed(
            f"df.if_rows: result '{name}' not found",
            hint=f"Bind it before this step with |=> '{name}'.",
        )
    count = _field(names[name].value, "row_count")
    if not isinstance(count, int):
        return Failed(f"df.if_rows: result '{name}' is not a SQL result (missing row_count)")
    return count > 0


def break_value(config: str, scope: Scope) -> Done | Failed:
    """The value of a `df.break`, its references resolved."""
    value = _field(config, "break_value")
    if value is not None and not isinstance(value, str):
        return Failed("Invalid df.break config: `break_value` must be text or null")
    try:
        return Done(substitute_break(value, scope))
    except SubstituteError as error:
        return Failed(str(error))


def _field(text: str, name: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document.get(name) if isinstance(document, dict) else None
