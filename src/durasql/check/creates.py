"""What the statements of a workflow bring into being: such things cannot be asked for before it has run.

In: parsed SQL texts. Out: `Created`: names of relations, functions, types and schemas. It errs on the side of
naming too much, because it only serves to doubt what the server says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import postgast

from durasql.check.parsed import parsed_sql

_ANYTHING: Final = (
    *("do_stmt", "call_stmt", "create_extension_stmt", "import_foreign_schema_stmt", "execute_stmt"),
)
_NAME_LISTS: Final = ("funcname", "defnames", "type_name", "domainname")


@dataclass(slots=True)
class Created:
    """Names without their schemas; `anything` counts statements that can create whatever they like."""

    names: set[str] = field(default_factory=set)
    anything: int = 0
    privileges: bool = False

    def add(self, statement: Any) -> None:
        """Note what one statement creates, alters or renames."""
        kind = statement.WhichOneof("node")
        body = getattr(statement, kind)
        self.anything += kind in _ANYTHING
        self.privileges = self.privileges or kind.startswith(("grant", "alter_default_privileges"))
        if kind in ("select_stmt", "create_table_as_stmt"):
            self._into(body)
        elif kind.startswith(("create", "alter", "view", "rename", "define", "composite")):
            self._names_of(body)

    def _into(self, body: Any) -> None:
        target = body.into.rel if hasattr(body, "into") else body.into_clause.rel
        self.names.update({target.relname} - {""})

    def _names_of(self, body: Any) -> None:
        for name, value in ((item.name, found) for item, found in body.ListFields()):
            if name in ("relation", "view", "sequence", "typevar"):
                self.names.add(value.relname)
            elif name in ("base_stmt",):
                self._names_of(value)
            elif name in ("schemaname", "newname"):
                self.names.add(value)
            elif name in _NAME_LISTS and len(value):
                self.names.add(value[-1].string.sval)
            elif name == "schema_elts":
                for element in value:
                    self.add(element)


def created_by(texts: Iterable[str]) -> Created:
    """Everything that the statements of these SQL texts create."""
    created = Created()
    for text in texts:
        parsed = parsed_sql(text)
        for statement in (parsed.statements or ()) if parsed else ():
            created.add(statement)
    return created


def mentioned(statement: Any) -> set[str]:
    """The names of relations, functions, types and schemas that a statement uses."""
    found: set[str] = set()
    for _, item in postgast.walk(statement):
        match item.DESCRIPTOR.name:
            case "RangeVar":
                found.update((item.relname, item.schemaname))
            case "FuncCall":
                found.update(part.string.sval for part in item.funcname)
            case "TypeName":
                found.update(part.string.sval for part in item.names)
    return found - {""}
