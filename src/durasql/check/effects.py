"""Whether a SQL step writes, as far as its text tells.

In: a SQL step. Out: yes or no.
"""

from __future__ import annotations

from typing import Any, Final

import postgast

from durasql.check.parsed import parsed_sql
from durasql.syntax import ast

_READS: Final = ("explain_stmt", "variable_show_stmt", "variable_set_stmt", "listen_stmt")
_WRITE_MESSAGES: Final = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


def writes(node: ast.Sql) -> bool:
    """Whether a step changes data; a text that does not parse is taken to write nothing."""
    parsed = parsed_sql(node.query)
    return any(_writes(statement) for statement in (parsed.statements or ())) if parsed else False


def _writes(statement: Any) -> bool:
    kind = statement.WhichOneof("node")
    if kind != "select_stmt":
        return kind not in _READS
    return any(item.DESCRIPTOR.name in _WRITE_MESSAGES for _, item in postgast.walk(statement))
