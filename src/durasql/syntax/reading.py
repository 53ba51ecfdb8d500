"""`parse`: a text to a Workflow, with every mistake that can be found in one run.

In: a Source. Out: a Workflow, or `CompileError`. Scanner, parser and evaluation each note their diagnostics;
where one piece between semicolons cannot be parsed, the others still are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from durasql.codes import diagnose
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.limits import MAX_DEPTH, MAX_NODES, MAX_SOURCE_BYTES
from durasql.source import Source, Span
from durasql.syntax import ast, signatures, terms
from durasql.syntax.build import ParseFailure, build_piece, build_pieces, vocabulary
from durasql.syntax.calls import bind
from durasql.syntax.evaluate import Evaluator
from durasql.syntax.mistakes import explain_failure, explain_unclosed
from durasql.syntax.options import start_refusals
from durasql.syntax.scan import DOLLAR_START, LINE_COMMENT, STRING_START, Lexeme, Scanned, scan
from durasql.syntax.textmap import TextMap
from durasql.syntax.values import Bad, Scalar, Value

_STOPS: Final = ("E101", "E102", "E103", "E304")
"""After these the rest of the text is lost, and parsing it would only repeat the complaint."""


def read_workflow(source: Source) -> ast.Workflow:
    """The workflow of a `.dsql` text. Raises `CompileError`."""
    reader = _Reader(source)
    statements = reader.statements()
    reader.raise_if_wrong()
    return ast.Workflow(tuple(statements))


def read_start_text(source: Source) -> ast.Workflow:
    """The workflow of a text given to `df.start(text)`: an envelope, operator language, or one SQL step.

    Raises `CompileError`.
    """
    reader = _Reader(source)
    graph = reader.start_text(source.text, None)
    reader.raise_if_wrong()
    if graph is None:
        raise AssertionError("a text without mistakes has a graph")
    return ast.Workflow((ast.Start(graph, span=Span(0, len(source.text))),))


def read_terms(source: Source) -> tuple[list[terms.Piece], Scanned]:
    """The concrete syntax of a text that parses, for `fmt` and the checks on what was written.

    Raises `CompileError`.
    """
    reader = _Reader(source)
    scanned = reader.scanned(source, None)
    pieces = reader.pieces(scanned.lexemes, len(source.text))
    reader.raise_if_wrong()
    return pieces, scanned


class _Reader:
    """One text being read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.evaluator = Evaluator(source)
        self.diagnostics: list[Diagnostic] = []
        self._check_text()

    def raise_if_wrong(self) -> None:
        """Raise what was found, in the order of the text."""
        found = [*self.diagnostics, *self.evaluator.diagnostics]
        if any(item.severity is Severity.ERROR for item in found):
            found.sort(key=lambda item: item.span.start if item.span else 0)
            raise CompileError(tuple(dict.fromkeys(found)))

    def report(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        self.diagnostics.append(diagnose(code, message, self.source, span, hint))

    def _check_text(self) -> None:
        """Refuse what is no text of reasonable size before anything looks at it."""
        text = self.source.text
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            span = Span(error.start, error.start + 1)
            self.report("E124", "the text is not valid Unicode", span, "save the file as UTF-8")
            size = 0
        if size > MAX_SOURCE_BYTES:
            message = f"the text has {size:,} bytes; a workflow text has at most {MAX_SOURCE_BYTES:,}"
            self.report(
                "E303", message, Span(0, 0), "keep data in tables, and split the text into several workflows"
            )
        elif (nul := text.find("\0")) >= 0:
            self.report(
                "E124",
                "the text contains a NUL character",
                Span(nul, nul + 1),
                "remove it; PostgreSQL texts cannot hold one",
            )
        self.raise_if_wrong()

    # --- text to terms

    def scanned(self, source: Source, outer: TextMap | None) -> Scanned:
        """The lexemes of a text; those of a text inside a literal get their places in the file."""
        found = scan(source, vocabulary())
        if outer is not None:
            found.lexemes = [_moved(lexeme, outer) for lexeme in found.lexemes]
            found.diagnostics = [_redirected(item, self.source, outer) for item in found.diagnostics]
        self.diagnostics.extend(found.diagnostics)
        return found

    def pieces(self, lexemes: list[Lexeme], end: int) -> list[terms.Piece]:
        """The pieces between semicolons; those that cannot be parsed are reported and left out."""
        stop = next((item for item in self.diagnostics if item.code in _STOPS), None)
        if stop is not None:
            likelier = explain_unclosed(lexemes, self.source) if stop.code == "E101" else None
            self.diagnostics = [likelier] if likelier else self.diagnostics
            return []
        try:
            return build_pieces(lexemes)
        except ParseFailure:
            found = (self._piece(chunk, end) for chunk in _chunks(lexemes, end))
            return [piece for piece in found if piece is not None]

    def _piece(self, chunk: tuple[list[Lexeme], int], end: int) -> terms.Piece | None:
        lexemes, stop = chunk
        try:
            return build_piece(lexemes)
        except ParseFailure as failure:
            if self._lost_lexeme(lexemes[0].span.start, stop):
                return None
            found = explain_failure(failure, lexemes, self.source, stop)
            if found.code in ("E101", "E122"):  # what the scanner said inside it is beside the point
                self._forget(lexemes[0].span.start, stop)
            self.diagnostics.append(found)
            return None

    def _lost_lexeme(self, start: int, end: int) -> bool:
        """Whether the scanner left something out there; then the parser only stumbles over the gap."""
        lost = [item.span for item in self.diagnostics if item.code in ("E105", "E109") and item.span]
        return any(start <= span.start <= end for span in lost)

    def _forget(self, start: int, end: int) -> None:
        kept = [item for item in self.diagnostics if not (item.span and start <= item.span.start < end)]
        self.diagnostics = kept

    # --- terms to statements

    def statements(self) -> list[ast.Statement]:
        scanned = self.scanned(self.source, None)
        pieces = self.pieces(scanned.lexemes, len(self.source.text))
        if not pieces and not self.diagnostics:
            self.report(
                "E125",
                "the text holds no workflow",
                Span(0, 0),
                "a workflow is at least one step: 'SELECT 1'",
            )
        bare = [piece for piece in pieces if not isinstance(piece, terms.Select)]
        if bare and len(pieces) > 1:
            hint = "a bare expression stands alone in its text; write SELECT df.start(…); for each workflow"
            self.report(
                "E122", "a second statement beside a bare workflow expression", _second(pieces, bare[0]), hint
            )
        found: list[ast.Statement] = []
        for piece in pieces:
            found.extend(self._piece_statements(piece))
        return found

    def _piece_statements(self, piece: terms.Piece) -> list[ast.Statement]:
        if isinstance(piece, terms.Select):
            found = [self._call_statement(call) for call in piece.calls]
            return [statement for statement in found if statement is not None]
        graph = self._graph(self.evaluator.value(piece), "the workflow")
        return [] if graph is None else [ast.Start(graph, span=piece.outer)]

    def _call_statement(self, call: terms.Call) -> ast.Statement | None:
        if call.name == ("df", "start"):
            return self._start(call)
        if call.name == ("df", "setvar"):
            return self._setvar(call)
        spelled = ".".join(call.name)
        if call.name[:-1] == ("df",) and call.name[-1] in signatures.BUILDERS:
            hint = f"start it: SELECT df.start({spelled}(…));"
            self.report(
                "E122", f"SELECT {spelled}(…) only builds a step and starts nothing", call.name_span, hint
            )
        else:
            near = get_close_matches(spelled, ("df.start", "df.setvar"), 1, 0.6)
            hint = "a text holds one workflow expression, or SELECT df.setvar(…); and SELECT df.start(…);"
            hint = f"did you mean {near[0]}?" if near else hint
            self.report("E122", f"{spelled} is no statement of a workflow text", call.name_span, hint)
        return None

    def _start(self, call: terms.Call) -> ast.Start | None:
        below = [self.evaluator.value(term) for term in call.children()]
        bound = bind(call, "df.start", signatures.START, below, self.evaluator.report)
        if bound is None:
            return None
        graph = self._graph(bound.values["fut"], "argument fut of df.start")
        options = {
            parameter.name: self.evaluator.argument(bound, parameter, "df.start")
            for parameter in signatures.START[1:]
        }
        for refusal in start_refusals(options):
            given = bound.values.get(refusal.argument)
            self.report(refusal.code, refusal.message, given.span if given else call.span, refusal.hint)
        if graph is None or any(isinstance(option, Bad) for option in options.values()):
            return None
        return ast.Start(graph, **options, span=call.span)  # type: ignore[arg-type]

    def _setvar(self, call: terms.Call) -> ast.SetVar | None:
        below = [self.evaluator.value(term) for term in call.children()]
        bound = bind(call, "df.setvar", signatures.SETVAR, below, self.evaluator.report)
        if bound is None:
            return None
        name, value = (
            self.evaluator.argument(bound, parameter, "df.setvar") for parameter in signatures.SETVAR
        )
        if not isinstance(name, str) or not isinstance(value, str):
            return None
        return ast.SetVar(name, value, span=call.span)

    # --- the argument of df.start

    def _graph(self, value: Value, what: str) -> ast.Node | None:
        """The graph that df.start makes of its argument, within the limits."""
        if isinstance(value, Scalar) and value.type in ("unknown", "text") and isinstance(value.value, str):
            return self.start_text(value.value, value)
        node = self.evaluator.node(value, what, strict=True)
        return self._within_limits(node) if node is not None else None

    def start_text(self, text: str, literal: Scalar | None) -> ast.Node | None:
        """The graph of a text: operator language, an envelope, or one SQL step."""
        map_ = literal.map if literal and literal.map else _whole(text)
        if looks_like_dsl(text):
            end = map_.place(len(text))
            lexemes = self.scanned(Source(text, self.source.name), map_).lexemes
            pieces = self.pieces(lexemes, end)
            if len(pieces) != 1 or isinstance(pieces[0], terms.Select):
                if not self.diagnostics:
                    self.report(
                        "E122",
                        "the text holds more than one expression",
                        map_.span,
                        "df.start takes one workflow",
                    )
                return None
            value = self.evaluator.value(pieces[0])
            node = self.evaluator.node(value, "the workflow", strict=True)
        else:
            node = self.evaluator.node(
                literal or Scalar("text", text, map_.span, map_), "the workflow", strict=True
            )
        return self._within_limits(node) if node is not None else None

    def _within_limits(self, root: ast.Node) -> ast.Node | None:
        count = 0
        stack = [(root, 0)]
        while stack:
            node, depth = stack.pop()
            count += 1
            span = node.span or Span(0, 0)
            if depth > MAX_DEPTH:
                message = f"Graph exceeds maximum nesting depth of {MAX_DEPTH}."
                self.report("E301", message, span, _LIMIT_HINT)
                return None
            if count > MAX_NODES:
                message = f"Workflow exceeds maximum node count of {MAX_NODES}."
                self.report("E302", message, span, _LIMIT_HINT)
                return None
            stack.extend((child, depth + 1) for child in node.children())
        return root


def looks_like_dsl(text: str) -> bool:
    """Whether a text given to df.start is operator language rather than SQL.

    It is when its first word after opening parentheses and comments is a string literal, `@>` or a function
    of schema df; no statement begins so.
    """
    at = 0
    while found := _LEAD.match(text, at):
        at = found.end()
        if text.startswith("/*", at):
            at = _after_comment(text, at)
        elif comment := LINE_COMMENT.match(text, at):
            at = comment.end()
        elif not found.group():
            break
    if STRING_START.match(text, at) or DOLLAR_START.match(text, at) or text.startswith("@>", at):
        return True
    return _OF_DF.match(text, at) is not None


_LIMIT_HINT: Final = (
    "Simplify the workflow or break it into multiple instances. "
    "The limit is part of the language and the same everywhere; it is not a setting."
)
_LEAD: Final = re.compile(r"[ \t\n\r\f(]*")
_OF_DF: Final = re.compile(r"""(?:"df"|[dD][fF])[ \t\n\r\f]*\.""")


def _after_comment(text: str, at: int) -> int:
    depth = 0
    for edge in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return len(text)


def _whole(text: str) -> TextMap:
    """The map of a text that is no literal: every character stands where it stands."""
    return TextMap(Span(0, len(text)), (0,), (0,), len(text))


def _moved(lexeme: Lexeme, outer: TextMap) -> Lexeme:
    span = outer.span_of(lexeme.span.start, lexeme.span.end)
    return replace(lexeme, span=span, map=lexeme.map.through(outer) if lexeme.map else None)


def _redirected(item: Diagnostic, source: Source, outer: TextMap) -> Diagnostic:
    span = outer.span_of(item.span.start, item.span.end) if item.span else outer.span
    return replace(item, source=source, span=span)


def _chunks(lexemes: list[Lexeme], end: int) -> list[tuple[list[Lexeme], int]]:
    """The lexemes between semicolons, each with the place where it ends; semicolons never stand inside."""
    chunks: list[tuple[list[Lexeme], int]] = []
    current: list[Lexeme] = []
    for lexeme in lexemes:
        if lexeme.kind == "SEMICOLON":
            chunks.append((current, lexeme.span.start))
            current = []
        else:
            current.append(lexeme)
    chunks.append((current, end))
    return [chunk for chunk in chunks if chunk[0]]


def _second(pieces: list[terms.Piece], bare: terms.Piece) -> Span:
    other = pieces[1] if pieces[0] is bare else bare
    return other.span
