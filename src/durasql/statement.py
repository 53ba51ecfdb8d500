"""What kind of step a substituted SQL text is, before it is sent.

Comes in: one SQL step's text. Goes out: its `StatementKind`: the statements, whether they can share a
transaction with their journal row, and why they have to be refused if they have to. Only the lexical
structure and the first words are looked at: no parser, because a parser knows one version of PostgreSQL and
this has to work with all, and because PostgreSQL has the last word anyway (`runs_outside`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from durasql.sqltext import Kind, regions


class StatementKind(NamedTuple):
    """An SQL step's text, understood as far as executing it needs.

    `statements` have no trailing semicolon; none at all means an empty text, a step without effect.
    `transactional` is false for what PostgreSQL refuses to run in a transaction block (P2: at least once).
    `call` marks CALL and DO, which may try to end the transaction. `transaction_control` and `copy` mark what
    no step can do. `refusal` says, for the user, why the step cannot run.
    """

    statements: tuple[str, ...]
    transactional: bool = True
    call: bool = False
    transaction_control: bool = False
    copy: bool = False
    refusal: str | None = None


_QUERY: Final = re.compile(r"\s*(?:select|insert|update|delete|with|values|merge|table)\b", re.IGNORECASE)
_CACHED_LENGTH: Final = 16_384


def classify(sql: str) -> StatementKind:
    """Understand one SQL step. Never raises: what is no SQL at all is PostgreSQL's to reject."""
    if ";" not in sql and _QUERY.match(sql):
        return StatementKind((sql,))
    return _classify_cached(sql) if len(sql) <= _CACHED_LENGTH else _classify(sql)


def may_commit_itself(kind: StatementKind) -> bool:
    """Whether the step can contain COMMIT or ROLLBACK that work outside a transaction block only."""
    return kind.call and len(kind.statements) == 1


def runs_outside(kind: StatementKind, sqlstate: str) -> bool:
    """Whether a step that failed in a transaction block with `sqlstate` is to be repeated outside one.

    The block was rolled back, so nothing of it happened. 25001: PostgreSQL refuses the statement in a block
    though its words did not tell, such as CLUSTER of a partitioned table. 2D000: a procedure commits.
    """
    if len(kind.statements) != 1:
        return False
    return sqlstate == "25001" or (sqlstate == "2D000" and may_commit_itself(kind))


def split(sql: str) -> list[str]:
    """The statements of a text, as psql finds them, without semicolons and without empty ones."""
    return [sql[statement.start : statement.end].strip() for statement in _statements(sql)]


# ---------------------------------------------------------------------------------------------- kinds

_CALL: Final = re.compile(r"(?:call|do)\b")
_COPY: Final = re.compile(r"copy\b.*\b(?:from stdin|to stdout)\b")
_CONTROL: Final = re.compile(
    r"(?:begin|start transaction|(?:commit|rollback)(?! prepared)|end|abort|savepoint|release"
    r"|prepare transaction)\b"
)
_NO_BLOCK: Final = re.compile(
    r"vacuum\b"
    r"|cluster(?: verbose)?$|cluster \("
    r"|reindex (?:\( [^)]*\) )?(?:schema|database|system)\b|reindex\b.*\bconcurrently\b"
    r"|(?:create(?: unique)?|drop) index concurrently\b"
    r"|alter table\b.*\bdetach partition\b.*\bconcurrently$"
    r"|(?:create|drop) (?:database|tablespace|subscription)\b"
    r"|alter database\b.*\bset tablespace\b"
    r"|alter subscription\b.*\b(?:refresh|publication)\b"
    r"|alter system\b"
    r"|discard all\b"
    r"|(?:commit|rollback) prepared\b"
)


def _classify(sql: str) -> StatementKind:
    found = list(_statements(sql))
    words = [" ".join(statement.words) for statement in found]
    outside = [text for text in words if _NO_BLOCK.match(text)]
    return StatementKind(
        tuple(sql[statement.start : statement.end].strip() for statement in found),
        transactional=not outside,
        call=any(_CALL.match(text) for text in words),
        transaction_control=any(_CONTROL.match(text) for text in words),
        copy=any(_COPY.match(text) for text in words),
        refusal=_refusal(words, outside),
    )


_classify_cached = lru_cache(maxsize=512)(_classify)


def _refusal(words: list[str], outside: list[str]) -> str | None:
    for text in words:
        if _CONTROL.match(text):
            return (
                f"{_name(text)} is not possible in a step: every step is a transaction of its own, "
                "which commits together with its entry in the journal"
            )
        if _COPY.match(text):
            return (
                "COPY FROM STDIN and COPY TO STDOUT are not possible in a step: "
                "there is no client to send or take the data"
            )
    if outside and len(words) > 1:
        return f"{_name(outside[0])} cannot run in a transaction, so it needs a step of its own"
    return None


_TWO_WORDS: Final = (
    "start",
    "prepare",
    "create",
    "drop",
    "alter",
    "discard",
    "commit",
    "rollback",
    "reindex",
)


def _name(words: str) -> str:
    """A statement as an error message names it: one word, or two where one says too little."""
    first, _, rest = words.partition(" ")
    second = rest.partition(" ")[0]
    return f"{first} {second}".upper() if first in _TWO_WORDS and second.isalpha() else first.upper()


# ---------------------------------------------------------------------------------------------- scanning


class _Statement(NamedTuple):
    """Characters `start` to `end` of a text, and the first tokens of its code in lower case.

    A literal or a quoted name is the token `"`: enough to know that something stands there.
    """

    start: int
    end: int
    words: list[str]


_ENOUGH_WORDS: Final = 200
_TOKEN: Final = re.compile(
    r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+|[();]|[^\sA-Za-z_\x80-\U0010ffff();]++"
)


def _tokens(sql: str) -> Iterator[tuple[str, int]]:
    """Tokens of the code in lower case, and where each ends."""
    at = 0
    for region in regions(sql):
        for match in _TOKEN.finditer(sql, at, region.start):
            yield match[0].lower(), match.end()
        if region.kind is not Kind.COMMENT:
            yield '"', region.end
        at = region.end
    for match in _TOKEN.finditer(sql, at):
        yield match[0].lower(), match.end()


def _statements(sql: str) -> Iterator[_Statement]:
    """Cut at semicolons, but not in parentheses (CREATE RULE) nor in BEGIN ATOMIC … END of a routine."""
    start, words, nesting = 0, list[str](), _Nesting()
    for token, end in _tokens(sql):
        if token == ";" and not nesting.open:
            if words:
                yield _Statement(start, end - 1, words)
            start, words, nesting = end, [], _Nesting()
            continue
        nesting.read(token, words)
        if len(words) < _ENOUGH_WORDS:
            words.append(token)
    if words:
        yield _Statement(start, len(sql), words)


class _Nesting:
    """How deep in parentheses and in BEGIN … END the current statement is."""

    def __init__(self) -> None:
        self.parentheses = 0
        self.blocks = 0

    @property
    def open(self) -> bool:
        return self.parentheses > 0 or self.blocks > 0

    def read(self, token: str, words: list[str]) -> None:
        """One more token, after the `words` of the statement so far."""
        match token:
            case "(":
                self.parentheses += 1
            case ")":
                self.parentheses = max(0, self.parentheses - 1)
            case "begin" if self.blocks or _creates_routine(words):
                self.blocks += 1
            case "case" if self.blocks:
                self.blocks += 1
            case "end" if self.blocks:
                self.blocks -= 1


def _creates_routine(words: list[str]) -> bool:
    kind = words[3:4] if words[1:3] == ["or", "replace"] else words[1:2]
    return words[:1] == ["create"] and kind in (["function"], ["procedure"])
