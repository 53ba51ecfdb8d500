"""SQL that PostgreSQL's own parser refuses, and statements with effects one should know about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from durasql.check.parsed import Parsed, parsed_sql
from durasql.check.sqltext import place, references
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.source import Span
from durasql.statement import classify
from durasql.syntax import ast

_KEYWORDS: Final = frozenset(
    {
        *(
            "select",
            "insert",
            "update",
            "delete",
            "merge",
            "with",
            "from",
            "where",
            "group",
            "order",
            "having",
        ),
        *(
            "limit",
            "offset",
            "values",
            "into",
            "set",
            "returning",
            "create",
            "table",
            "index",
            "view",
            "alter",
        ),
        *(
            "drop",
            "truncate",
            "begin",
            "call",
            "do",
            "explain",
            "vacuum",
            "analyze",
            "grant",
            "revoke",
            "union",
        ),
        *(
            "intersect",
            "except",
            "join",
            "left",
            "right",
            "inner",
            "outer",
            "cross",
            "using",
            "on",
            "and",
            "or",
        ),
        *(
            "not",
            "null",
            "distinct",
            "between",
            "like",
            "in",
            "exists",
            "case",
            "when",
            "then",
            "else",
            "end",
        ),
    }
)


def check_statements(view: View) -> Iterator[Diagnostic]:
    """E213, E217, W215, I201, I202."""
    for node in view.nodes():
        if not isinstance(node, ast.Sql):
            continue
        parsed = parsed_sql(node.query)
        if parsed is None:
            continue
        if parsed.statements is None:
            yield _syntax_error(view, node, parsed)
            continue
        kind = classify(node.query)
        if kind.refusal:
            yield view.finding("E217", kind.refusal, node.span)
            continue
        if not kind.transactional:
            message = "this cannot run in a transaction, so the step runs at least once, not exactly once"
            yield view.finding("I202", message, node.span, "make sure that running it twice does no harm")
        if len(parsed.statements) > 1:
            message = (
                f"{len(parsed.statements)} statements run in one transaction; the result is the last one's"
            )
            yield view.finding("I201", message, node.span)
        if any(_session_state(statement) for statement in parsed.statements):
            message = "session state does not outlive its step: the next one has a fresh session"
            hint = "put the statements that need it into the same step, separated by semicolons"
            yield view.finding("W215", message, node.span, hint)


def _syntax_error(view: View, node: ast.Sql, parsed: Parsed) -> Diagnostic:
    word = _word_at(node.query, parsed.offset)
    span = place(node, "query", parsed.offset, parsed.offset + len(word))
    if not word and node.text_map("query") and span:
        span = Span(span.start, span.start + 1)
    inserted = next((item for item in references(node.query) if item.start == parsed.offset), None)
    message = parsed.error or "syntax error"
    if inserted is not None:
        message = f"syntax error at {inserted.text}"
    return view.finding(
        "E213", message, span, _hint(node.query, parsed.offset, word, is_value=inserted is not None)
    )


def _hint(query: str, offset: int, word: str, *, is_value: bool) -> str | None:
    if is_value:
        return (
            "a result is inserted as a value; it cannot stand for a name or a piece of SQL, a {variable} can"
        )
    if re.match(r"\s*\$[A-Za-z_]\w*[?.\w]*\s*\Z", query):
        return f"a step is a statement: 'SELECT {query.strip()}'"
    near = get_close_matches(word.lower(), _KEYWORDS, 1, 0.75) if word.isalpha() else []
    if near and near[0] != word.lower():
        return f"did you mean {near[0].upper()}?"
    before = re.findall(r"[A-Za-z]+", query[:offset])
    previous = get_close_matches(before[-1].lower(), _KEYWORDS, 1, 0.75) if before else []
    if previous and previous[0] != before[-1].lower():
        return f"did you mean {previous[0].upper()} instead of {before[-1]}?"
    return None


def _word_at(text: str, offset: int) -> str:
    found = re.compile(r"\$?[\w.]+\??|\S").match(text, offset)
    return found.group() if found else ""


def _session_state(statement: Any) -> bool:
    """SET, LISTEN, PREPARE and temporary tables."""
    kind = statement.WhichOneof("node")
    body = getattr(statement, kind)
    if kind == "create_stmt":
        return bool(body.relation.relpersistence == "t")
    if kind == "create_table_as_stmt":
        return bool(body.into.rel.relpersistence == "t")
    if kind == "variable_set_stmt":
        return not body.is_local
    return kind in ("listen_stmt", "prepare_stmt", "declare_cursor_stmt")
