"""The lexer against PostgreSQL's own (libpg_query): same literals, quoted names and comments."""

from __future__ import annotations

import re

import postgast
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from durasql.sqltext import Kind, regions

PIECES = ["'", "''", "E'", "e'", "U&'", 'u&"', "B'", "x'", "N'", '"', "\\", "\\'", "$$", "$a$", "$a", "$1"]
PIECES += ["x", "a1", "1", "é", " ", "\n", "--", "/*", "*/", "-", "/", "&", ";", "UESCAPE '!'", "!", "$é$"]

_REGION = re.compile(r"(?:[ebx]|u&)?(?=['\"])|(?=--|/\*|\$(?!\d))", re.IGNORECASE)


def oracle(text: str) -> str | None:
    """The text with everything that is not code as dots, after libpg_query; None when it does not scan."""
    raw = text.encode()
    try:
        tokens = postgast.scan(text).tokens
    except postgast.PgQueryError:
        return None
    spans = []
    for token in tokens:
        start, end = (len(raw[:offset].decode(errors="replace")) for offset in (token.start, token.end))
        region = _REGION.match(text, start)
        if region and (region.end(), text[region.end() : end]) != (start, "$"):
            spans.append((region.end(), end))
    return _dotted(text, spans)


def _dotted(text: str, spans: list[tuple[int, int]]) -> str:
    characters = list(text)
    for start, end in spans:
        characters[start:end] = "." * (end - start)
    return "".join(
        " " if original.isspace() else shown for shown, original in zip(characters, text, strict=True)
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_L5_regions_are_those_of_postgresqls_scanner(text: str) -> None:
    expected = oracle(text)
    assume(expected is not None)
    assert _dotted(text, [(region.start, region.end) for region in regions(text)]) == expected


def test_what_is_not_closed_reaches_to_the_end() -> None:
    opened = {"'a": Kind.LITERAL, "E'a\\'": Kind.ESCAPED, '"a': Kind.NAME, "/* /* */": Kind.COMMENT}
    for text, kind in opened.items():
        (region,) = regions(text)
        assert (region.kind, region.end) == (kind, len(text))
    assert list(regions("$a$ not closed")) == []
