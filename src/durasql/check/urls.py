"""URLs that would be called wrongly: a question mark that a reference takes, no host, blanks, credentials."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final
from urllib.parse import urlsplit

from durasql.check.sqltext import place, references
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast

_INSERTED: Final = re.compile(r"\$[A-Za-z_]|\{")


def check_urls(view: View) -> Iterator[Diagnostic]:
    """W214, W217."""
    for flow, root in zip(view.flows, view.graphs, strict=True):
        for node in ast.walk(root):
            if isinstance(node, ast.Http | ast.HttpMultipart):
                names = flow.names(node)
                yield from _taken_marks(view, node, names.bound if names else {})
                yield from _unusable(view, node)


def _taken_marks(
    view: View, node: ast.Http | ast.HttpMultipart, bound: Container[str]
) -> Iterator[Diagnostic]:
    """`/$id?x=1`: the mark makes the value optional and does not begin the query."""
    for item in references(node.url, sql=False):
        if item.name in bound and item.optional and re.match(r"[\w.~%-]+=", node.url[item.end :]):
            span = place(node, "url", item.start, item.end)
            message = f"the ? belongs to {item.text} (NULL if there is no value) and does not begin the query"
            yield view.finding("W214", message, span, f"write it twice: {item.text}?")


def _unusable(view: View, node: ast.Http | ast.HttpMultipart) -> Iterator[Diagnostic]:
    """What is wrong with the part of the URL that is certain."""
    inserted = _INSERTED.search(node.url)
    certain = node.url[: inserted.start()] if inserted else node.url
    wrong = _problem(certain, whole=inserted is None)
    if wrong:
        map_ = node.text_map("url")
        yield view.finding("W217", wrong, map_.body if map_ else node.span)


def _problem(url: str, *, whole: bool) -> str | None:
    if re.search(r"\s", url):
        return "a URL holds no blanks; write %20"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"the URL cannot be read: {error}" if whole else None
    if parts.password is not None:
        return "the password in the URL is stored with the program; use a header with {secret:name}"
    ended = whole or "/" in url.partition("://")[2]
    if ended and not parts.hostname:
        return "the URL names no host"
    return "port 0 cannot be called" if port == 0 else None
