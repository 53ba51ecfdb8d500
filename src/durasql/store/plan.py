"""Let a server plan every SQL step of a workflow. Nothing is executed.

In: a workflow and a DSN. Out: `Planned`: what the server knows and the text did not tell (missing objects and
privileges, columns that repeat) and the columns of every step's result, which the passes of `check` can use.

Each statement is described (Parse and Describe: every name and type in it) and explained (EXPLAIN without
ANALYZE: the planner, and the privileges). Both happen in a READ ONLY transaction that is rolled back. As in
any EXPLAIN, the planner may evaluate functions that are declared IMMUTABLE or STABLE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, NamedTuple

import postgast

from durasql.check.creates import Created, created_by, mentioned
from durasql.check.filled import Filled, filled
from durasql.check.flow import Flow, flow_of
from durasql.check.parsed import parsed_sql
from durasql.check.shape import Shape
from durasql.check.sqltext import Reference, place, variables
from durasql.codes import diagnose
from durasql.errors import Diagnostic
from durasql.source import Source, Span
from durasql.store.explaining import Column, Refusal, Session
from durasql.store.refusals import Statement, judged, repeated
from durasql.syntax import ast

_EXPLAINED: Final = (
    "select_stmt",
    "insert_stmt",
    "update_stmt",
    "delete_stmt",
    "merge_stmt",
    "create_table_as_stmt",
)
_DESCRIBED: Final = (*_EXPLAINED, "call_stmt", "declare_cursor_stmt")
_WRITTEN: Final = {16: "true", 20: "1", 21: "1", 23: "1", 700: "1.5", 701: "1.5"}
"""By type: how a value is inserted into SQL code; other types become untyped literals, as NULL is one."""
_ROW_TYPES: Final = {
    16: "boolean",
    20: "bigint",
    21: "integer",
    23: "integer",
    700: "numeric",
    701: "numeric",
}
_WORD: Final = re.compile(r"\w+")
_GUESSES: Final = ("NULL", "'1'", "1", "''::text", "true")


@dataclass(frozen=True, slots=True)
class Planned:
    """What planning found: diagnostics, and the shapes of results by node identity."""

    diagnostics: tuple[Diagnostic, ...] = ()
    shapes: Mapping[int, Shape] = field(default_factory=dict)


def plan(workflow: ast.Workflow, source: Source, dsn: str, role: str | None = None) -> Planned:
    """Plan every step, as `role` if one is given (the login must be allowed to take it on).

    Raises `DatabaseUnreachable` for the database of the DSN, and for one that `database =>` names.
    """
    found: list[Diagnostic] = []
    shapes: dict[int, Shape] = {}
    variables: dict[str, str] = {}
    sessions: dict[str | None, Session] = {}
    created = _created(workflow)
    try:
        for statement in workflow.statements:
            if isinstance(statement, ast.SetVar):
                variables[statement.name] = statement.value
                continue
            if statement.database not in sessions:
                sessions[statement.database] = Session(dsn, statement.database, role)
            session = sessions[statement.database]
            known = {**session.variables, **variables, "sys_instance_id": "00000000"}
            known["sys_label"] = statement.label or ""
            planner = _Planner(source, session, statement.graph, known, created)
            found.extend(_without_repeats(planner.findings()))
            shapes.update(planner.shapes())
    finally:
        for session in sessions.values():
            session.close()
    return Planned(tuple(found), shapes)


def _without_repeats(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Of what the workflow itself creates, one note for each thing is enough."""
    said: set[str] = set()
    for item in found:
        if item.code != "I241" or item.message not in said:
            yield item
        said.add(item.message)


def _created(workflow: ast.Workflow) -> Created:
    nodes = (node for start in workflow.starts for node in ast.walk(start.graph))
    return created_by(node.query for node in nodes if isinstance(node, ast.Sql))


class _Cut(NamedTuple):
    """One statement of a filled text: its tree, and its characters."""

    tree: object
    start: int
    end: int


class _Planner:
    """One workflow and the session that plans it."""

    def __init__(
        self, source: Source, session: Session, root: ast.Node, variables: Mapping[str, str], created: Created
    ) -> None:
        self.source = source
        self.session = session
        self.root = root
        self.variables = variables
        self.created = created
        self.columns: dict[int, tuple[Column, ...]] = {}

    @cached_property
    def flow(self) -> Flow:
        return flow_of(self.root)

    def shapes(self) -> dict[int, Shape]:
        return {node: Shape("rows", _numbered(columns)) for node, columns in self.columns.items()}

    def findings(self) -> Iterator[Diagnostic]:
        for node in ast.walk(self.root):
            if isinstance(node, ast.Sql):
                parsed = parsed_sql(node.query)
                if parsed is None or parsed.statements is not None:
                    yield from self._step(node)

    def _step(self, node: ast.Sql) -> Iterator[Diagnostic]:
        texts = list(self._texts(node))
        if not texts:
            yield diagnose("I242", self._why_not(node), self.source, node.span)
            return
        cuts = [(text, _cut(text.text)) for text in texts]
        cuts = [(text, found) for text, found in cuts if found]
        for number in range(len(cuts[0][1]) if cuts else 0):
            yield from self._statement(
                node, [(text, found[number]) for text, found in cuts if number < len(found)]
            )
        if cuts and _kind(cuts[0][1][-1]) not in _DESCRIBED:
            self.columns.pop(id(node), None)

    def _statement(self, node: ast.Sql, tries: list[tuple[Filled, _Cut]]) -> Iterator[Diagnostic]:
        """The first way to fill in values that the server accepts decides, else what it refuses in all."""
        kind = _kind(tries[0][1])
        if kind not in _DESCRIBED:
            return
        refused: list[tuple[Filled, _Cut, Refusal]] = []
        for text, cut in tries:
            answer = self.session.plan(text.text[cut.start : cut.end], explain=kind in _EXPLAINED)
            if isinstance(answer, Refusal):
                refused.append((text, cut, answer))
                continue
            self.columns[id(node)] = answer
            yield from repeated(answer, self.source, node.span)
            return
        self.columns.pop(id(node), None)
        yield from judged([self._refused(node, *item) for item in refused], self.session, self.source)

    def _refused(self, node: ast.Sql, text: Filled, cut: _Cut, refusal: Refusal) -> Statement:
        # A name can stand in a literal too ('t'::regclass); then the server's message tells it.
        names = mentioned(cut.tree) | set(_WORD.findall(refusal.message))
        others = self.created.anything - (_kind(cut) == "call_stmt")
        own = others > 0 or bool(names & self.created.names) or "search_path" in node.query
        own = own or (refusal.sqlstate == "42501" and self.created.privileges)

        def span(start: int, end: int) -> Span | None:
            found = text.map.span_of(cut.start + start, cut.start + end)
            return place(node, "query", found.start, found.end)

        return Statement(text.text[cut.start : cut.end], refusal, text.guessed, own, node.span, span)

    # --- values

    def _texts(self, node: ast.Sql) -> Iterator[Filled]:
        """The step's text with values of the types that the server told, then with guesses."""
        told = filled(node.query, self.variables, lambda reference: self._told(node, reference))
        if told is None or "\0" in told.text:
            return
        yield told
        for guess in _GUESSES if told.guessed else ():
            again = filled(node.query, self.variables, partial(self._guessed, node, guess))
            if again is not None and again.text != told.text:
                yield again

    def _guessed(self, node: ast.Node, guess: str, reference: Reference) -> str:
        return self._rows(node, reference) or guess

    def _told(self, node: ast.Node, reference: Reference) -> str:
        """An expression of the type that the referenced column has."""
        rows = self._rows(node, reference)
        if rows is not None:
            return rows
        kinds = {self._type(bound, reference.column) for bound in self._bound(node, reference.name)}
        return _WRITTEN.get(kinds.pop() if len(kinds) == 1 else 0, "NULL")

    def _type(self, bound: ast.Node, column: str | None) -> int:
        columns = self.columns.get(id(_last(bound)), ())
        names = _numbered(columns)
        if column is None:
            return columns[0].oid if columns else 0
        return next((item.oid for item, name in zip(columns, names, strict=True) if name == column), 0)

    def _rows(self, node: ast.Node, reference: Reference) -> str | None:
        """`$name.*` as an empty row set with the columns that the server told."""
        if not reference.star:
            return None
        found = [self.columns.get(id(_last(bound)), ()) for bound in self._bound(node, reference.name)]
        columns = found[0] if found else ()
        listed = ", ".join(
            f"NULL::{_ROW_TYPES.get(column.oid, 'text')} AS {_quoted(name)}"
            for column, name in zip(columns, _numbered(columns), strict=True)
        )
        return f"(SELECT {listed or 'NULL'} WHERE false) AS {_quoted(reference.name)}"

    def _bound(self, node: ast.Node, name: str) -> tuple[ast.Node, ...]:
        names = self.flow.names(node)
        return names.bound.get(name, ()) if names else ()

    def _why_not(self, node: ast.Sql) -> str:
        unset = sorted({item.name for item in variables(node.query)} - set(self.variables))
        return (
            f"not planned: {', '.join(f'{{{name}}}' for name in unset)} is not set"
            if unset
            else "not planned"
        )


def _cut(text: str) -> list[_Cut]:
    """The statements of a text; none when PostgreSQL's parser refuses it with these values."""
    try:
        tree = postgast.parse(text)
    except postgast.PgQueryError:
        return []
    data = text.encode()
    found = []
    for item in tree.stmts:
        start = len(data[: item.stmt_location].decode())
        length = item.stmt_len or len(data) - item.stmt_location
        found.append(_Cut(item.stmt, start, start + len(data[item.stmt_location :][:length].decode())))
    return found


def _kind(cut: _Cut) -> str:
    return str(cut.tree.WhichOneof("node"))  # type: ignore[attr-defined]


def _last(node: ast.Node) -> ast.Node:
    while isinstance(node, ast.Then):
        node = node.second
    return node


def _numbered(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The names as results have them (L12)."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column.name] = seen.get(column.name, 0) + 1
        names.append(column.name if seen[column.name] == 1 else f"{column.name}_{seen[column.name]}")
    return tuple(names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
