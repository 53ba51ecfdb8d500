"""Stage 1: characters to lexemes, cut exactly as PostgreSQL's scanner cuts them.

In: a text. Out: `Scanned`: lexemes, comments (for `fmt` and `-- durasql: allow`) and the diagnostics of what
could not be cut. Operators and reserved words come from the grammar, so that page stays the only list of
them. A run of operator characters is one lexeme, as in PostgreSQL: `~>@>` is no operator, and neither is
`~>-` in `~>-1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from durasql.codes import diagnose
from durasql.errors import Diagnostic
from durasql.limits import MAX_TOKENS
from durasql.source import Source, Span
from durasql.syntax.strings import LiteralError, read_dollar, read_quoted
from durasql.syntax.textmap import TextMap

SPACE: Final = re.compile(r"[ \t\n\r\f]+")
"""PostgreSQL 16 and later take a vertical tab for a blank too; the language is what all versions accept."""
LINE_COMMENT: Final = re.compile(r"--[^\n\r]*")
BLOCK_EDGE: Final = re.compile(r"/\*|\*/")
_OPEN: Final = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u00b4\u00a0\u2007\u202f\u3000\ufeff\u200b"
"""Letters to PostgreSQL, but never meant as such: typographic quotes and invisible blanks."""
_LETTER: Final = rf"(?:[A-Za-z_]|(?![{_OPEN}])[\x80-\U0010ffff])"
WORD: Final = re.compile(rf"{_LETTER}(?:{_LETTER}|[0-9$])*")
NUMBER: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
OPERATOR_RUN: Final = re.compile(r"[~!@#^&|`?+\-*/%<>=]+")
STRING_START: Final = re.compile(r"(?:[eEbBxXnN]|[uU]&)?'")
DOLLAR_START: Final = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")
QUOTED_WORD: Final = re.compile(r'"((?:[^"]|"")*)"')
SMART_QUOTES: Final = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201a": "'",
    "\u201b": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u00b4": "'",
}
NO_BREAK_SPACES: Final = "\u00a0\u2007\u202f\u3000\ufeff\u200b"


@dataclass(frozen=True, slots=True)
class Lexeme:
    """One word of the text. `value` is the decoded string, or the name folded to lower case."""

    kind: str
    text: str
    span: Span
    value: str = ""
    map: TextMap | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Scanned:
    """What a text consists of, in order."""

    lexemes: list[Lexeme] = field(default_factory=list)
    comments: list[Lexeme] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The operators, punctuation and reserved words of the grammar, each with its terminal's name."""

    symbols: Mapping[str, str]
    words: Mapping[str, str]


def scan(source: Source, vocabulary: Vocabulary) -> Scanned:
    """Cut a whole text. What cannot be cut becomes a diagnostic and is skipped or repaired."""
    scanner = _Scanner(source, vocabulary)
    while scanner.at < len(source.text):
        scanner.step()
    return scanner.out


class _Scanner:
    def __init__(self, source: Source, vocabulary: Vocabulary) -> None:
        self.source = source
        self.text = source.text
        self.vocabulary = vocabulary
        self.at = 0
        self.out = Scanned()

    def step(self) -> None:
        """Take what stands at the current place."""
        char = self.text[self.at]
        if found := SPACE.match(self.text, self.at):
            self.at = found.end()
        elif self.text.startswith("--", self.at):
            self._comment(LINE_COMMENT.match(self.text, self.at).end())  # type: ignore[union-attr]
        elif self.text.startswith("/*", self.at):
            self._block_comment()
        elif STRING_START.match(self.text, self.at):
            self._string()
        elif char == "$":
            self._dollar()
        elif char == '"':
            self._quoted_word()
        elif found := WORD.match(self.text, self.at):
            self._word(found.group())
        elif char.isascii() and (
            char.isdigit() or (char == "." and self.text[self.at + 1 : self.at + 2].isdigit())
        ):
            self._number()
        elif found := OPERATOR_RUN.match(self.text, self.at):
            self._operator(found.group())
        else:
            self._punctuation(char)

    def add(self, kind: str, end: int, value: str = "", map: TextMap | None = None) -> None:
        """Append the lexeme that ends at `end` and go on after it."""
        lexeme = Lexeme(kind, self.text[self.at : end], Span(self.at, end), value, map)
        self.out.lexemes.append(lexeme)
        self.at = end
        if len(self.out.lexemes) == MAX_TOKENS:
            message = f"the text has more than {MAX_TOKENS:,} words and operators"
            self.report("E304", message, lexeme.span, "split it into several workflows")
            self.at = len(self.text)

    def report(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        """Note what is wrong; scanning goes on."""
        self.out.diagnostics.append(diagnose(code, message, self.source, span, hint))

    def _comment(self, end: int) -> None:
        self.out.comments.append(Lexeme("COMMENT", self.text[self.at : end], Span(self.at, end)))
        self.at = end

    def _block_comment(self) -> None:
        """Block comments nest."""
        depth = 0
        for edge in BLOCK_EDGE.finditer(self.text, self.at):
            depth += 1 if edge.group() == "/*" else -1
            if depth == 0:
                self._comment(edge.end())
                return
        span = Span(self.at, self.at + 2)
        self.report(
            "E102",
            "this comment is never closed",
            span,
            "end it with */ (comments nest: each /* needs its own */)",
        )
        self.at = len(self.text)

    def _string(self) -> None:
        try:
            literal = read_quoted(self.text, self.at)
        except LiteralError as error:
            self.report(error.code, error.message, error.span, error.hint)
            self.at = error.resume
            return
        self.add("STRING", literal.end, literal.value, literal.map)

    def _dollar(self) -> None:
        opening = DOLLAR_START.match(self.text, self.at)
        if not opening:
            self._parameter()
            return
        literal = read_dollar(self.text, self.at, opening.group())
        if literal is None:
            tag = opening.group()
            span = Span(self.at, self.at + len(tag))
            self.report("E103", f"the string that {tag} opens is never closed", span, f"end it with {tag}")
            self.at = len(self.text)
            return
        self.add("STRING", literal.end, literal.value, literal.map)

    def _parameter(self) -> None:
        found = re.compile(r"\$\w*").match(self.text, self.at)
        end = found.end() if found else self.at + 1
        message = f"{self.text[self.at : end]} may only stand inside the text of a step"
        self.report("E105", message, Span(self.at, end), "write it inside the quotes: 'SELECT $name'")
        self.add("STRING", end, self.text[self.at : end])

    def _quoted_word(self) -> None:
        found = QUOTED_WORD.match(self.text, self.at)
        if not found:
            self.report(
                "E101", "this quoted name is never closed", Span(self.at, self.at + 1), 'end it with "'
            )
            self.at = len(self.text)
            return
        self.add("NAME", found.end(), found.group(1).replace('""', '"'))

    def _word(self, word: str) -> None:
        folded = re.sub(r"[A-Z]+", lambda part: part.group().lower(), word)
        after_dot = bool(self.out.lexemes) and self.out.lexemes[-1].kind == "DOT"
        kind = "NAME" if after_dot else self.vocabulary.words.get(folded, "NAME")
        self.add(kind, self.at + len(word), folded)

    def _number(self) -> None:
        end = NUMBER.match(self.text, self.at).end()  # type: ignore[union-attr]
        junk = re.compile(r"\w+", re.ASCII).match(self.text, end)
        if junk:
            whole = Span(self.at, junk.end())
            message = f"'{self.text[self.at : junk.end()]}' is not a number"
            self.report("E108", message, whole, "write plain decimal digits, such as 3600 or 1.5")
            end = junk.end()
        self.add("NUMBER", end, self.text[self.at : end])

    def _operator(self, run: str) -> None:
        """Cut a run of operator characters as PostgreSQL does: comments end it, then + and - may not."""
        for comment in ("--", "/*"):
            cut = run.find(comment)
            if cut > 0:
                run = run[:cut]
        if not set(run) & set("~!@#%^&|`?"):
            while len(run) > 1 and run[-1] in "+-":
                run = run[:-1]
        kind = self.vocabulary.symbols.get(run)
        if kind is not None:
            self.add(kind, self.at + len(run))
            return
        self._unknown_operator(run)

    def _unknown_operator(self, run: str) -> None:
        span = Span(self.at, self.at + len(run))
        pieces = _split_run(run, self.vocabulary.symbols)
        if pieces:
            spelled = " ".join(pieces)
            hint = f"PostgreSQL reads adjacent operator characters as one operator; write '{spelled}'"
            self.report("E104", f"unknown operator '{run}'", span, hint)
            for piece in pieces:
                self.add(self.vocabulary.symbols[piece], self.at + len(piece))
            return
        meant = _MEANT.get(run)
        hint = f"did you mean '{meant}'?" if meant else f"the operators are {'  '.join(_OPERATORS)}"
        self.report("E104", f"unknown operator '{run}'", span, hint)
        before = self.out.lexemes[-1].kind if self.out.lexemes else "START"
        if (before in self.vocabulary.symbols.values() and before != "RPAREN") or before == "START":
            self.at = span.end
        else:
            self.add(self.vocabulary.symbols[meant or "~>"], span.end)

    def _punctuation(self, char: str) -> None:
        for width in (2, 1):
            symbol = self.text[self.at : self.at + width]
            if symbol in self.vocabulary.symbols:
                self.add(self.vocabulary.symbols[symbol], self.at + len(symbol))
                return
        if char in SMART_QUOTES:
            self._smart_quote(char)
        elif char == ":":
            self._psql_variable()
        elif char == "\\":
            self._meta_command()
        else:
            self._stray(char)

    def _smart_quote(self, char: str) -> None:
        """Take everything up to the closing typographic quote as one string, so that one mistake is one
        message."""
        close = next(
            (
                at
                for at in range(self.at + 1, len(self.text))
                if self.text[at] in SMART_QUOTES or self.text[at] in "'\n"
            ),
            self.at,
        )
        end = close + 1 if close > self.at and self.text[close] != "\n" else max(close, self.at + 1)
        hint = f"replace it with a plain {SMART_QUOTES[char]}; word processors change quotes as one types"
        self.report(
            "E106",
            f"typographic quote {char} (U+{ord(char):04X}) where a plain quote must stand",
            Span(self.at, self.at + 1),
            hint,
        )
        self.add("STRING", end, self.text[self.at + 1 : close])

    def _psql_variable(self) -> None:
        found = re.compile(r":(?:'\w+'|\"\w+\"|\w+)").match(self.text, self.at)
        if not found:
            self._stray(":")
            return
        name = found.group().strip(":'\"")
        hint = f"psql would replace it; in a file use df.setvar('{name}', …) and write {{{name}}} in the step"
        self.report("E107", f"{found.group()} is a psql variable", Span(self.at, found.end()), hint)
        self.add("STRING", found.end(), found.group())

    def _meta_command(self) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        command = self.text[self.at : end].strip()
        hint = "run the file with 'durasql run', or remove the psql command"
        self.report(
            "E107",
            f"{command.split()[0]} is a psql command, not part of the language",
            Span(self.at, self.at + len(command)),
            hint,
        )
        self.at = end

    def _stray(self, char: str) -> None:
        end = self.at + 1
        if char in NO_BREAK_SPACES:
            message = f"invisible character U+{ord(char):04X} where a blank should stand"
            if char != "\ufeff" or self.at:
                self.report("E105", message, Span(self.at, end), "replace it with an ordinary blank")
        else:
            shown = char if char.isprintable() else f"U+{ord(char):04X}"
            self.report("E105", f"unexpected character {shown}", Span(self.at, end))
        self.at = end


_OPERATORS: Final = ("|=>", "~>", "&", "|", "?>", "!>", "<~", "@>")
_MEANT: Final = {
    "&&": "&",
    "<->": "<~",
    "<~>": "<~",
    "||>": "|=>",
    "|>": "|=>",
    "|->": "|=>",
    "=|>": "|=>",
    "|=": "|=>",
    "==>": "|=>",
    "->": "~>",
    "->>": "~>",
    ">": "~>",
    ">>": "~>",
    "~": "~>",
    "~~>": "~>",
    "=": "=>",
    "?": "?>",
    "!": "!>",
    "@": "@>",
    "&>": "&",
    "|||": "|",
    "<-": "~>",
    "-->": "~>",
    "~>>": "~>",
    "?=>": "?>",
    "!=>": "!>",
}


def _split_run(run: str, symbols: Mapping[str, str]) -> list[str]:
    """The operators a run consists of when blanks were forgotten (`~>@>`), else nothing."""
    pieces: list[str] = []
    while run:
        piece = next((run[:n] for n in (3, 2, 1) if run[:n] in symbols and run[:n] not in ("=>", "||")), None)
        if piece is None:
            return []
        pieces.append(piece)
        run = run[len(piece) :]
    return pieces if any(len(piece) > 1 for piece in pieces) else []
