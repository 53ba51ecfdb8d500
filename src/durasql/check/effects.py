"""What a SQL step does, as far as its text tells: does it write, can it run in a transaction.

In: a parsed statement of libpg_query. Out: yes, no, or what kind it is.
"""

from __future__ import annotations

from typing import Any, Final

import postgast

from durasql.check.parsed import parsed_sql
from durasql.syntax import ast

_READS: Final = ("explain_stmt", "variable_show_stmt", "variable_set_stmt", "listen_stmt")
_WRITES: Final = ("insert_stmt", "update_stmt", "delete_stmt", "merge_stmt")


def writes(node: ast.Sql) -> bool:
    """Whether a step changes data; a text that does not parse is taken to write nothing."""
    parsed = parsed_sql(node.query)
    return any(_writes(statement) for statement in (parsed.statements or ())) if parsed else False


def _writes(statement: Any) -> bool:
    kind = statement.WhichOneof("node")
    if kind != "select_stmt":
        return kind not in _READS
    return any(item.DESCRIPTOR.name in _WRITE_MESSAGES for _, item in postgast.walk(statement))


_WRITE_MESSAGES: Final = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


def outside_transaction(statement: Any) -> str | None:
    """The name of a statement that PostgreSQL refuses in a transaction block; None for all others."""
    kind = statement.WhichOneof("node")
    body = getattr(statement, kind)
    match kind:
        case "vacuum_stmt":
            return "VACUUM" if body.is_vacuumcmd else None
        case "index_stmt":
            return "CREATE INDEX CONCURRENTLY" if body.concurrent else None
        case "drop_stmt":
            return "DROP INDEX CONCURRENTLY" if body.concurrent else None
        case "reindex_stmt":
            names = [param.def_elem.defname for param in body.params]
            whole = body.kind in (4, 5)  # SYSTEM and DATABASE
            return (
                "REINDEX CONCURRENTLY" if "concurrently" in names else "REINDEX DATABASE" if whole else None
            )
        case "cluster_stmt":
            return None if body.relation.relname else "CLUSTER"
    return _OUTSIDE.get(kind)


_OUTSIDE: Final = {
    "createdb_stmt": "CREATE DATABASE",
    "dropdb_stmt": "DROP DATABASE",
    "create_table_space_stmt": "CREATE TABLESPACE",
    "drop_table_space_stmt": "DROP TABLESPACE",
    "alter_system_stmt": "ALTER SYSTEM",
}
