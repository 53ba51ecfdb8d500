"""Parser state to human wording: which mistake leads to this lexeme in this place.

In: the lexeme that fits nowhere, its neighbours, and what the grammar would have taken. Out: diagnostics.
Each mistake is a small rule over the neighbourhood, with an example text; the first rule that recognises the
place speaks, and when none does the message says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from durasql.codes import diagnose
from durasql.errors import Diagnostic
from durasql.source import Source, Span
from durasql.syntax.build import ParseFailure
from durasql.syntax.scan import Lexeme

_INFIX: Final = ("AS_NAME", "THEN", "JOIN", "RACE", "IF_THEN", "IF_ELSE", "UNDO", "CONCAT")
_ENDS_VALUE: Final = ("STRING", "NUMBER", "RPAREN", "NULL", "TRUE", "FALSE")
_STARTS_VALUE: Final = (*("STRING", "NUMBER", "LPAREN", "NULL", "TRUE", "FALSE", "CAST", "LOOP"), "NAME")
_SQL_WORDS: Final = frozenset(
    {
        "select",
        "insert",
        "update",
        "delete",
        "with",
        "create",
        "alter",
        "drop",
        "call",
        "do",
        "truncate",
        "grant",
        "revoke",
        "explain",
        "merge",
        "begin",
        "commit",
        "rollback",
        "copy",
        "vacuum",
        "analyze",
        "set",
        "reset",
        "values",
        "table",
        "refresh",
        "notify",
        "listen",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where parsing stopped: the lexeme (None at the end), the one before, the one after, and all of the
    piece."""

    source: Source
    lexeme: Lexeme | None
    before: Lexeme | None
    after: Lexeme | None
    lexemes: list[Lexeme]
    expected: frozenset[str]
    end: int

    @property
    def kind(self) -> str:
        return self.lexeme.kind if self.lexeme else "$END"

    @property
    def span(self) -> Span:
        """The lexeme, or the last character of the text when it ended too early."""
        if self.lexeme:
            return self.lexeme.span
        last = self.lexemes[-1].span.end if self.lexemes else self.end
        return Span(last, last)

    def report(
        self, code: str, message: str, hint: str | None = None, span: Span | None = None
    ) -> Diagnostic:
        return diagnose(code, message, self.source, span or self.span, hint)


Rule = Callable[[Place], Diagnostic | None]


def explain_failure(failure: ParseFailure, lexemes: list[Lexeme], source: Source, end: int) -> Diagnostic:
    """What to say about a piece that cannot be parsed."""
    at = next((i for i, item in enumerate(lexemes) if item is failure.lexeme), len(lexemes))
    before = lexemes[at - 1] if at else None
    after = lexemes[at + 1] if at + 1 < len(lexemes) else None
    place = Place(source, failure.lexeme, before, after, lexemes, failure.expected, end)
    for rule in RULES:
        found = rule(place)
        if found:
            return found
    return _expected(place)


def _plain_sql(place: Place) -> Diagnostic | None:
    """UPDATE t SET x = 1"""
    first = place.lexemes[0]
    if first.kind not in ("NAME", "SELECT") or first.value not in _SQL_WORDS:
        return None
    if first.kind == "SELECT" and any(item.value == "df" for item in place.lexemes[:3]):
        return None
    hint = "put the SQL of a step in quotes: 'SELECT …', or $$…$$ where it has quotes itself"
    if first.value in ("begin", "commit", "rollback"):
        hint = "remove it; a text is started as a whole"
    elif first.value in ("set", "reset"):
        hint = "SQL goes in quotes; variables are set with SELECT df.setvar('name', 'value');"
    return place.report("E122", f"{first.text.upper()} is SQL, not a workflow expression", hint, first.span)


def _missing_quote(place: Place) -> Diagnostic | None:
    """'SELECT 1 ~> 'SELECT 2'"""
    return lost_quote(place.before, place.lexeme, place.source) if place.before and place.lexeme else None


def lost_quote(string: Lexeme, word: Lexeme, source: Source) -> Diagnostic | None:
    """What happened when a word begins right behind a string: a quote is missing before or inside it."""
    if (
        string.kind != "STRING"
        or word.kind not in ("NAME", "SELECT", "NUMBER")
        or string.span.end != word.span.start
    ):
        return None
    lost = re.search(r"\s*(~>|\|=>|\?>|!>|@>|<~|&|\|)\s*\Z", string.value)
    if lost and string.map is not None:
        at = source.position(string.map.place(lost.start()))
        where = (
            f"at column {at.column}"
            if at.line == source.position(string.span.start).line
            else f"on line {at.line}"
        )
        message = f"this string is never closed: it runs on to the next quote, over {lost.group(1)}"
        span = Span(string.span.start, string.span.start + 1)
        return diagnose("E101", message, source, span, f"write ' before {lost.group(1)} {where}")
    span = Span(string.span.end - 1, string.span.end)
    hint = "a quote inside a string is written twice: ''"
    return diagnose("E101", "the string ends here, in the middle of its text", source, span, hint)


def explain_unclosed(lexemes: list[Lexeme], source: Source) -> Diagnostic | None:
    """Where the missing quote of a text that ends inside a string most likely is."""
    pairs = pairwise(lexemes)
    return next((found for string, word in pairs if (found := lost_quote(string, word, source))), None)


def _arrow(place: Place) -> Diagnostic | None:
    """'SELECT 1' => 'a'"""
    if place.kind not in ("ARROW", "ASSIGN") or place.lexeme is None:
        return None
    if place.before is not None and place.before.kind == "NAME":
        message = f"{place.lexeme.text} gives a named argument and stands inside a call"
        return place.report("E114", message, "as in df.http('https://…', timeout_seconds => 5)")
    return place.report("E114", f"{place.lexeme.text} does not name a result", "did you mean '|=>'?")


def _unclosed(place: Place) -> Diagnostic | None:
    """('SELECT 1' ~> 'SELECT 2'"""
    if place.lexeme is not None or place.before is None or "RPAREN" not in place.expected:
        return None
    opened: list[Lexeme] = []
    for item in place.lexemes:
        if item.kind == "LPAREN":
            opened.append(item)
        elif item.kind == "RPAREN" and opened:
            opened.pop()
    if not opened:
        return None
    return place.report("E113", "this parenthesis is never closed", "add )", opened[-1].span)


def _unopened(place: Place) -> Diagnostic | None:
    """'SELECT 1' ~> 'SELECT 2')"""
    if (
        place.kind != "RPAREN"
        or place.before is None
        or place.before.kind in (*_INFIX, "LOOP", "COMMA", "LPAREN")
    ):
        return None
    depth = 0
    for item in place.lexemes:
        if item is place.lexeme:
            break
        depth += {"LPAREN": 1, "RPAREN": -1}.get(item.kind, 0)
    return (
        place.report("E113", "this parenthesis closes nothing", "remove it, or open one before")
        if depth <= 0
        else None
    )


def _missing_operand(place: Place) -> Diagnostic | None:
    """'SELECT 1' ~>"""
    before = place.before
    if before is not None and before.kind in (*_INFIX, "LOOP", "MINUS") and place.kind not in _STARTS_VALUE:
        if place.kind in _INFIX and place.lexeme is not None:
            hint = f"remove one of {before.text} {place.lexeme.text}, or write the step between them"
            return place.report("E112", f"no step between {before.text} and {place.lexeme.text}", hint)
        if place.kind == "SELECT":
            hint = "put the SQL of a step in quotes: 'SELECT …'"
            return place.report("E112", f"{before.text} needs a step on its right", hint)
        hint = f"add a step, or remove the {before.text}"
        return place.report("E112", f"{before.text} needs a step on its right", hint, before.span)
    if place.kind in _INFIX and (before is None or before.kind in ("LPAREN", "COMMA", "ARROW", "ASSIGN")):
        text = place.lexeme.text if place.lexeme else ""
        return place.report("E112", f"{text} needs a step on its left", f"add a step, or remove the {text}")
    return None


def _quoted_twice(place: Place) -> Diagnostic | None:
    """'SELECT 1' 'SELECT 2'"""
    before = place.before
    if (
        place.kind not in _STARTS_VALUE
        or before is None
        or before.kind not in _ENDS_VALUE
        or "THEN" not in place.expected
    ):
        return None
    if (
        place.kind == "NAME"
        and place.after is not None
        and place.after.kind not in ("DOT", "LPAREN", "STRING")
    ):
        return None
    if "COMMA" in place.expected and _in_call(place):
        hint = "add a comma between arguments, or an operator such as ~> between steps"
        return place.report("E111", "a comma or an operator is missing here", hint)
    hint = (
        "write ~> between steps that run one after the other, & for both at once, | for the first to finish"
    )
    if place.kind == "LOOP":
        hint = "@> stands before the steps it repeats: … ~> @> ( … )"
    return place.report("E111", "an operator is missing between these two steps", hint, place.span)


def _in_call(place: Place) -> bool:
    """Whether the innermost open parenthesis belongs to a call."""
    opened: list[bool] = []
    previous = ""
    for item in place.lexemes:
        if item is place.lexeme:
            break
        if item.kind == "LPAREN":
            opened.append(previous == "NAME")
        elif item.kind == "RPAREN" and opened:
            opened.pop()
        previous = item.kind
    return bool(opened) and opened[-1]


def _operator_word(place: Place) -> Diagnostic | None:
    """'SELECT 1' then 'SELECT 2'"""
    meant = {"then": "~>", "and": "&", "or": "|", "else": "!>"}
    if place.kind != "NAME" or place.lexeme is None or place.lexeme.value not in meant:
        return None
    return place.report(
        "E110", f"'{place.lexeme.text}' is no operator", f"did you mean '{meant[place.lexeme.value]}'?"
    )


def _bare_word(place: Place) -> Diagnostic | None:
    """fetch ~> 'SELECT 1'"""
    before = place.before
    if before is None or before.kind != "NAME" or place.kind == "NAME":
        return None
    index = next(i for i, item in enumerate(place.lexemes) if item is before)
    if index and place.lexemes[index - 1].kind in ("DOT", "TYPECAST", "SELECT", "AS"):
        if place.lexemes[index - 1].kind == "DOT" and place.kind not in ("ARROW", "LPAREN"):
            hint = "a function call needs parentheses"
            return place.report("E110", f"'{before.text}' is not called", hint, before.span)
        return None
    hint = "put SQL in quotes; functions are called with parentheses: df.sleep(5)"
    if before.value.startswith("$"):
        hint = "references such as $name stand inside the text of a step"
    return place.report("E110", f"'{before.text}' is neither a step nor a function call", hint, before.span)


def _empty_argument(place: Place) -> Diagnostic | None:
    """df.if('SELECT true', , 'SELECT 1')"""
    before = place.before
    if before is None or before.kind != "COMMA" or place.kind not in ("COMMA", "RPAREN"):
        return None
    return place.report(
        "E110", "an argument is missing after this comma", "add it, or remove the comma", before.span
    )


RULES: Final[tuple[Rule, ...]] = (
    _plain_sql,
    _missing_quote,
    _arrow,
    _operator_word,
    _empty_argument,
    _missing_operand,
    _unclosed,
    _unopened,
    _quoted_twice,
    _bare_word,
)

_NAMES: Final = {
    "STRING": "a string",
    "NUMBER": "a number",
    "NAME": "a function",
    "LPAREN": "'('",
    "RPAREN": "')'",
    "COMMA": "','",
    "SEMICOLON": "';'",
    "$END": "the end of the text",
    "AS": "AS",
    "DOT": "'.'",
    "LOOP": "'@>'",
    "TYPECAST": "'::'",
    "ARROW": "'=>'",
}


def _expected(place: Place) -> Diagnostic:
    """The message when no rule knows better: what stands there and what could stand there."""
    names = [_NAMES[kind] for kind in _NAMES if kind in place.expected]
    if "THEN" in place.expected:
        names.insert(0, "an operator")
    found = f"unexpected '{place.lexeme.text[:40]}'" if place.lexeme else "the text ends too early"
    listing = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return place.report("E110", found + (f"; expected {listing}" if listing else ""))
