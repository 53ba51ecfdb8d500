"""Guards that cannot do what they are there for: failures that cannot happen, timeouts that leave no time."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast

_SQL: Final = frozenset({"sql"})
_HTTP: Final = frozenset({"http"})


def check_guards(view: View) -> Iterator[Diagnostic]:
    """W218, W219."""
    for node in view.nodes():
        if isinstance(node, ast.Retry | ast.Catch):
            yield from _impossible(view, node)
        elif isinstance(node, ast.Timeout):
            yield from _hopeless(view, node)


def _impossible(view: View, node: ast.Retry | ast.Catch) -> Iterator[Diagnostic]:
    """Each named failure that nothing in the body can have."""
    if not (able := _able(node.body)):
        what = "df.retry" if isinstance(node, ast.Retry) else "df.catch"
        message = f"nothing in this {what} can fail"
        yield view.finding(
            "W218", message, node.span, "waits and breaks do not fail; guard the steps that can"
        )
        return
    lost = [word for word in node.errors or () if not _needs(word) & able]
    if lost:
        map_ = node.text_map("errors")
        message = f"no step in it can fail with {', '.join(lost)}"
        kinds = "HTTP" if able == _SQL else "SQL"
        hint = f"there is no {kinds} step in it" if len(able) == 1 else None
        yield view.finding("W218", message, map_.body if map_ else node.span, hint)


def _needs(word: str) -> frozenset[str]:
    """The kinds of steps, one of which must be there for this failure."""
    if word in ("any", "timeout", "connection"):
        return frozenset({"sql", "http", "timeout"}) if word != "connection" else _SQL | _HTTP
    return _HTTP if word.startswith("http") else _SQL


def _able(body: ast.Node) -> frozenset[str]:
    """What there is in a body that can fail."""
    found = set()
    for node in ast.walk(body):
        match node:
            case ast.Sql():
                found.add("sql")
            case ast.Http() | ast.HttpMultipart():
                found.add("http")
            case ast.Timeout():
                found.add("timeout")
            case ast.Opaque() | ast.IfRows():
                found |= {"sql", "http"}
    return frozenset(found)


def _hopeless(view: View, node: ast.Timeout) -> Iterator[Diagnostic]:
    map_ = node.text_map("duration")
    span = map_.body if map_ else node.span
    if (needed := _at_least(node.body)) >= node.seconds:
        message = f"what it guards takes {needed} s at least, so it always times out"
        yield view.finding("W219", message, span, "allow more time")
        return
    for below in ast.walk(node.body):
        if isinstance(below, ast.Retry) and below.max_attempts > 1:
            pause = below.backoff / Decimal(2) if below.jitter else below.backoff
            if pause >= node.seconds:
                message = f"the timeout ends before a second attempt, {pause} s after the first, can begin"
                hint = "allow more time, shorten the backoff, or put the timeout into the df.retry"
                yield view.finding("W219", message, span, hint)


def _at_least(node: ast.Node) -> int:
    """Seconds that a node surely waits, as far as its sleeps tell."""
    match node:
        case ast.Sleep(seconds=seconds):
            return seconds
        case ast.Then(first=first, second=second):
            return _at_least(first) + _at_least(second)
        case ast.Join(branches=branches):
            return max(_at_least(branch) for branch in branches)
        case ast.Race(left=left, right=right):
            return min(_at_least(left), _at_least(right))
        case ast.Retry(body=body) | ast.Undo(body=body):
            return _at_least(body)
    return 0
