"""The canonical layout of a text: `durasql fmt`.

In: a text that parses. Out: the same lexemes and comments, laid out anew. Layout depends on the lexemes
only, so it is idempotent, and since no lexeme changes its meaning the hash stays the same; `format_source`
makes sure of both kinds of loss.

What fits on a line stays on one. Otherwise operators begin lines, parentheses indent what they hold, and a
call has one argument a line. A comment behind code stays behind it; one on a line of its own stays before
the lexeme that follows, and a blank line between comments or behind one stays, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from durasql.source import Source
from durasql.syntax.build import vocabulary
from durasql.syntax.reading import read_terms
from durasql.syntax.scan import Lexeme, scan

WIDTH: Final = 100
INDENT: Final = 4
_CHAIN: Final = ("THEN", "JOIN", "RACE", "IF_THEN", "IF_ELSE", "UNDO")
_TIGHT_AFTER: Final = ("LPAREN", "DOT", "TYPECAST", "MINUS")
_TIGHT_BEFORE: Final = ("RPAREN", "COMMA", "SEMICOLON", "DOT", "TYPECAST")
_UPPER: Final = ("SELECT", "AS", "CAST", "NULL")


def format_source(text: str, name: str = "<text>") -> str:
    """The canonical layout of a workflow text. Raises `CompileError` when it does not parse."""
    source = Source(text, name)
    _, scanned = read_terms(source)
    formatted = _Layout(source, scanned.lexemes, scanned.comments).text()
    again = scan(Source(formatted), vocabulary())
    if _meaning(again.lexemes) != _meaning(scanned.lexemes) or len(again.comments) != len(scanned.comments):
        raise AssertionError("formatting would have changed the text; please report this")
    return formatted


def _meaning(lexemes: list[Lexeme]) -> list[tuple[str, str]]:
    """What must survive: everything but empty statements and the spelling of `=>`."""
    kinds = ((item.kind.replace("ASSIGN", "ARROW"), item.value) for item in lexemes)
    return [item for item in kinds if item[0] != "SEMICOLON"]


@dataclass(slots=True)
class _Word:
    """One lexeme with the comments that belong to it."""

    kind: str
    text: str
    before: list[str] = field(default_factory=list)
    """Comments on lines of their own; an empty one is a blank line."""
    behind: list[str] = field(default_factory=list)
    blank: bool = False
    """A blank line stood before it or before its first comment."""


@dataclass(slots=True)
class _Frame:
    """Something open: a piece, a group in parentheses, a call or one argument of it."""

    kind: str
    indent: int
    broken: bool


class _Layout:
    def __init__(self, source: Source, lexemes: list[Lexeme], comments: list[Lexeme]) -> None:
        self.words = _attached(source, _without_empty(lexemes), comments)
        self.closing = _pairs(self.words)
        widths = [self._gap(i) + len(word.text) for i, word in enumerate(self.words)]
        self.width_to = [0, *accumulate(widths)]
        self.out: list[str] = []
        self.column = 0
        self.fresh = True
        self.frames: list[_Frame] = []

    def text(self) -> str:
        """The whole text, ending in one line end."""
        start = True
        for i, word in enumerate(self.words):
            if start:
                self.frames = [_Frame("piece", 0, not self._fits(i, self._piece_end(i), 0))]
            self._place(i, word, start=start)
            start = word.kind == "SEMICOLON"
        return "".join(self.out).strip("\n") + "\n"

    # --- one word

    def _place(self, i: int, word: _Word, *, start: bool) -> None:
        """Put a word where it belongs: on a new line or behind the last one."""
        indent = self._line_start(word, start=start)
        forced = self.fresh or bool(word.before)
        if indent is None and forced:
            indent = self.frames[-1].indent + (
                INDENT if self.frames[-1].kind == "arg" and not self.fresh else 0
            )
        if indent is not None:
            self._comments_before(word, indent, start=start)
            self._newline(indent)
        elif self.column:
            self._write(" " * self._gap(i))
        if word.kind != "END":
            self._write(word.text)
        self._after(i, word)
        for comment in word.behind:
            self._write(f"  {comment}")
            self.fresh = True

    def _line_start(self, word: _Word, *, start: bool) -> int | None:
        """The indent if the word begins a line by itself."""
        if word.kind == "RPAREN":
            if self.frames[-1].kind == "arg":
                self.frames.pop()
            frame = self.frames.pop()
            return frame.indent - INDENT if frame.broken else None
        frame = self.frames[-1]
        if start or word.kind == "END":
            return 0
        if word.kind in _CHAIN and frame.broken:
            return frame.indent + (INDENT if frame.kind == "arg" else 0)
        return None

    def _after(self, i: int, word: _Word) -> None:
        """Open what the word opens."""
        if word.kind == "LPAREN":
            frame = self.frames[-1]
            close = self.closing[i]
            base = frame.indent + (INDENT if frame.kind == "arg" and frame.broken else 0)
            call = i > 0 and self.words[i - 1].kind in ("NAME", "CAST")
            broken = not self._fits(i + 1, close, self.column) and not (call and close <= i + 2)
            self.frames.append(_Frame("call" if call else "group", base + INDENT, broken))
            self.fresh = broken
            if call:
                self._open_argument(i + 1)
        elif word.kind == "COMMA" and self.frames[-1].kind == "arg":
            self.frames.pop()
            self.fresh = self.frames[-1].broken
            self._open_argument(i + 1)

    def _open_argument(self, first: int) -> None:
        call = self.frames[-1]
        end = first
        while self.words[end].kind not in ("COMMA", "RPAREN"):
            end = self.closing[end] + 1 if self.words[end].kind == "LPAREN" else end + 1
        broken = call.broken and not self._is_call(first, end) and not self._fits(first, end, call.indent)
        self.frames.append(_Frame("arg", call.indent, broken))

    def _is_call(self, first: int, end: int) -> bool:
        """Whether an argument is one call and nothing else: no line of it goes on behind the first."""
        at = first
        while self.words[at].kind in ("NAME", "DOT"):
            at += 1
        return first < at < end and self.closing.get(at) == end - 1

    # --- measuring

    def _fits(self, first: int, last: int, column: int) -> bool:
        """Whether words `first` to `last` can stand on the line that has reached `column`."""
        if column + self.width_to[last + 1] - self.width_to[first] > WIDTH:
            return False
        for i in range(first, last + 1):
            word = self.words[i]
            if "\n" in word.text or (word.before and i > first) or (word.behind and i < last):
                return False
        return not (self.words[first].before and column)

    def _piece_end(self, i: int) -> int:
        while self.words[i].kind not in ("SEMICOLON", "END"):
            i = self.closing[i] + 1 if self.words[i].kind == "LPAREN" else i + 1
        return i

    def _gap(self, i: int) -> int:
        """Blanks between a word and the one before it on the same line."""
        if i == 0:
            return 0
        before, word = self.words[i - 1], self.words[i]
        if before.kind == "MINUS" and word.kind == "MINUS":
            return 1
        if before.kind in _TIGHT_AFTER or word.kind in _TIGHT_BEFORE:
            return 0
        return 0 if word.kind == "LPAREN" and before.kind in ("NAME", "CAST") else 1

    # --- writing

    def _comments_before(self, word: _Word, indent: int, *, start: bool) -> None:
        if self.out and word.blank and (start or word.before or word.kind == "END"):
            self._newline(0)
            self.out.append("\n")
        for comment in word.before:
            self._newline(indent if comment else 0)
            if comment:
                self._write(comment)
            else:
                self.out.append("\n")
            self.fresh = True

    def _newline(self, indent: int) -> None:
        if self.column:
            self.out.append("\n")
        self.out.append(" " * indent)
        self.column = 0
        self.fresh = False

    def _write(self, text: str) -> None:
        self.out.append(text)
        self.column = max(1, len(text) - text.rfind("\n") - 1 if "\n" in text else self.column + len(text))


def _without_empty(lexemes: list[Lexeme]) -> list[Lexeme]:
    """Drop semicolons that end nothing; statements end in one, a bare expression in none."""
    kept: list[Lexeme] = []
    for item in lexemes:
        if item.kind != "SEMICOLON" or (kept and kept[-1].kind != "SEMICOLON"):
            kept.append(item)
    statements = bool(kept) and kept[0].kind == "SELECT"
    if kept and kept[-1].kind == "SEMICOLON" and not statements:
        kept.pop()
    elif statements and kept[-1].kind != "SEMICOLON":
        end = kept[-1].span.end
        kept.append(Lexeme("SEMICOLON", ";", type(kept[-1].span)(end, end)))
    return kept


def _attached(source: Source, lexemes: list[Lexeme], comments: list[Lexeme]) -> list[_Word]:
    """Each lexeme with its comments; a last word END takes those at the end of the text."""
    words: list[_Word] = []
    waiting = list(reversed(comments))
    previous_end = 0
    for item in lexemes:
        word = _Word(item.kind, _spelled(item))
        while waiting and waiting[-1].span.start < item.span.start:
            _attach(source, waiting.pop(), words, word, previous_end)
        if word.before and _blank_before(source.text, item.span.start):
            word.before.append("")
        previous_end = max(previous_end, item.span.end)
        start = _comment_start(comments, item.span.start, word)
        word.blank = _blank_before(source.text, start)
        words.append(word)
    end = _Word("END", "")
    rest = list(reversed(waiting))
    for comment in rest:
        _attach(source, comment, words, end, previous_end)
    if end.before:
        first = next(comment for comment in rest if comment.text.rstrip() == end.before[0])
        end.blank = _blank_before(source.text, first.span.start)
    return [*words, end]


def _attach(source: Source, comment: Lexeme, words: list[_Word], word: _Word, previous_end: int) -> None:
    """Behind the previous word when it stands on that word's line, else before the next one."""
    between = source.text[previous_end : comment.span.start]
    if words and "\n" not in between and not word.before:
        words[-1].behind.append(comment.text.rstrip())
    else:
        if word.before and _blank_before(source.text, comment.span.start):
            word.before.append("")
        word.before.append(comment.text.rstrip())


def _comment_start(comments: list[Lexeme], offset: int, word: _Word) -> int:
    """Where the lines that belong to a word begin: at its first comment, if it has any."""
    if not word.before:
        return offset
    count = sum(bool(comment) for comment in word.before)
    own = [comment for comment in comments if comment.span.start < offset][-count:]
    return own[0].span.start


def _blank_before(text: str, offset: int) -> bool:
    head = text[:offset].rstrip(" \t\r\f\v")
    return head.endswith("\n") and head[:-1].rstrip(" \t\r\f\v").endswith("\n")


def _spelled(item: Lexeme) -> str:
    """The canonical spelling of a lexeme; strings and quoted names stay as they are."""
    if item.kind in _UPPER:
        return item.text.upper()
    if item.kind in ("TRUE", "FALSE"):
        return item.text.lower()
    if item.kind == "NAME" and not item.text.startswith('"'):
        return item.value
    return "=>" if item.kind == "ASSIGN" else item.text


def _pairs(words: list[_Word]) -> dict[int, int]:
    """The closing parenthesis of each opening one."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for i, word in enumerate(words):
        if word.kind == "LPAREN":
            opened.append(i)
        elif word.kind == "RPAREN":
            found[opened.pop()] = i
    return found
