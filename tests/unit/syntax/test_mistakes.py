"""P8: what the compiler says about the mistakes people make, each with its place and its remedy."""

from __future__ import annotations

import pytest

from durasql.errors import CompileError, Diagnostic
from durasql.source import Source
from durasql.syntax import parse

# text, code, the characters the caret is under, a piece of the message, a piece of the hint
MISTAKES = [
    ("'SELECT 1 ~> 'SELECT 2'", "E101", "'", "never closed", "before ~> at column 10"),
    ("'it's' ~> 'b'", "E101", "'", "in the middle", "written twice"),
    ("'a' ~> 'b", "E101", "'", "never closed", "end it with '"),
    ("'a' /* /* */", "E102", "/*", "never closed", "nest"),
    ("$x$ a $y$", "E103", "$x$", "never closed", "end it with $x$"),
    ("'a' && 'b'", "E104", "&&", "unknown operator", "did you mean '&'?"),
    ("'a' ~>@> 'b'", "E104", "~>@>", "unknown operator", "write '~> @>'"),
    ("'a' -> 'b'", "E104", "->", "unknown operator", "did you mean '~>'?"),
    ("'a' |> 'b'", "E104", "|>", "unknown operator", "did you mean '|=>'?"),
    ("'a' ~> [", "E105", "[", "unexpected character", ""),
    ("'a'\u00a0~> 'b'", "E105", "\u00a0", "invisible character U+00A0", "ordinary blank"),
    ("‘a’ ~> 'b'", "E106", "‘", "typographic quote", "plain '"),
    ("'a' ~> :'step'", "E107", ":'step'", "psql variable", "df.setvar('step'"),
    ("\\set x 1\n'a'", "E107", "\\set x 1", "psql command", "remove"),
    ("df.sleep(10s)", "E108", "10s", "not a number", "decimal digits"),
    ("E'\\u12'", "E109", "\\u", "Unicode escape", ""),
    ("'a' then 'b'", "E110", "then", "no operator", "did you mean '~>'?"),
    ("fetch ~> 'a'", "E110", "fetch", "neither a step nor a function call", "quotes"),
    ("df.sleep ~> 'a'", "E110", "sleep", "not called", "parentheses"),
    ("df.if('a', , 'b')", "E110", ",", "argument is missing", ""),
    ("'a' 'b'", "E111", "'b'", "operator is missing", "~>"),
    ("'a' df.sleep(1)", "E111", "df", "operator is missing", "~>"),
    ("df.seq('a' 'b')", "E111", "'b'", "comma or an operator", "comma"),
    ("'a' ~>", "E112", "~>", "needs a step on its right", ""),
    ("~> 'a'", "E112", "~>", "needs a step on its left", ""),
    ("'a' ~> ~> 'b'", "E112", "~>", "no step between ~> and ~>", ""),
    ("'a' ~> SELECT 1", "E112", "SELECT", "needs a step on its right", "quotes"),
    ("@>", "E112", "@>", "needs a step", ""),
    ("('a' ~> ('b')", "E113", "(", "never closed", ""),
    ("'a' ~> 'b')", "E113", ")", "closes nothing", ""),
    ("'a' => 'x'", "E114", "=>", "does not name a result", "did you mean '|=>'?"),
    ("df.slep(5)", "E115", "df.slep", "unknown function", "did you mean df.sleep?"),
    ("sleep(5)", "E115", "sleep", "unknown function", "did you mean df.sleep?"),
    ("'a' ~> df.start('b')", "E115", "df.start", "not a step", "stands alone"),
    ("'a' ~> df.setvar('b', 'c')", "E115", "df.setvar", "not a step", "stands alone"),
    ("'a' ~> df.status('b')", "E115", "df.status", "cannot be used as a workflow step", ""),
    ("df.http('https://x', timeout => 5)", "E116", "timeout", "no argument timeout", "timeout_seconds"),
    ("df.sleep()", "E116", "df.sleep", "needs the argument seconds", "seconds bigint"),
    ("df.sleep(1, 2)", "E116", "2", "at most 1", ""),
    ("df.seq(a => 'x', 'y')", "E116", "'y'", "cannot follow a named one", ""),
    ("df.seq('x', a => 'y')", "E116", "a", "given twice", ""),
    ("'a' ~> 5", "E117", "5", "not a step", "quotes"),
    ("df.sleep('soon')", "E117", "'soon'", "invalid input syntax for type bigint", ""),
    ("df.sleep(99999999999999999999)", "E117", "9" * 20, "expected bigint", ""),
    ("df.break(5)", "E117", "5", "expected text", "::text"),
    ("'a'::uuid ~> 'b'", "E117", "'a'::uuid", "cast to uuid", ""),
    ("'a' ~> NULL", "E118", "NULL", "right side of ~> is NULL", ""),
    ("df.sleep(NULL)", "E118", "NULL", "seconds of df.sleep is NULL", ""),
    ("'c' ?> 't'", "E119", "'c' ?> 't'", "its !> is missing", "!> else"),
    ("'c' ?> 't' ~> 'u' !> 'e'", "E119", "~>", "its !> is missing", "?> ('t' ~> 'u') !>"),
    ("'c' !> 'e'", "E120", "'c'", "must be a ?> expression", ""),
    ("'a' ~> 'SELECT ' || 'x'", "E121", "||", "glue", "parentheses"),
    ("UPDATE t SET x = 1", "E122", "UPDATE", "is SQL", "quotes"),
    ("SELECT 1", "E122", "SELECT", "is SQL", "quotes"),
    ("SELECT df.seq('a', 'b')", "E122", "df.seq", "starts nothing", "df.start"),
    ("SELECT df.strat('a')", "E122", "df.strat", "no statement", "did you mean df.start?"),
    ("'a'; 'b'", "E122", "'b'", "beside a bare", "df.start"),
    ("""'{"node_type":"THEN"}'""", "E123", """'{"node_type":"THEN"}'""", "THEN needs left_node", ""),
    ("'a\0'", "E124", "\0", "NUL character", ""),
    ("'a\ud800'", "E124", "\ud800", "not valid Unicode", "UTF-8"),
    (" -- nothing\n ;", "E125", "", "no workflow", ""),
    ("df.http('https://x', headers => '{a}')", "E126", "'{a}'", "invalid JSON", "double quotes"),
    ("'a' |=> 'first row'", "E201", "'first row'", "not a valid identifier", "first_row"),
    ("df.sleep(-5)", "E202", "-5", "non-negative", ""),
    (
        "df.wait_for_schedule('61 * * * *')",
        "E203",
        "61 * * * *",
        "out of range for the minute",
        "five fields",
    ),
    ("df.wait_for_schedule('@daily', 'Mars/Base')", "E204", "Mars/Base", "Unknown time zone", ""),
    ("df.http('https://x', 'HEAD')", "E205", "HEAD", "Must be GET", ""),
    ("df.http('example.com')", "E206", "example.com", "unsupported URL scheme", "https://example.com"),
    ("df.wait_for_signal('x', 0)", "E207", "0", "Timeout must be positive", ""),
    ("df.http('https://x', headers => '{\"X\": 1}')", "E208", '{"X": 1}', "must be a string", ""),
    ("df.http_multipart('https://x', parts => '[]')", "E209", "[]", "at least one part", ""),
    ("df.wait_for_signal('')", "E210", "''", "cannot be empty", ""),
    ("SELECT df.start('a', transaction_mode => 'x')", "E214", "'x'", "expected 'caller' or 'new'", ""),
]


def mistakes(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(CompileError) as caught:
        parse(Source(text))
    return caught.value.diagnostics


@pytest.mark.parametrize(("text", "code", "under", "message", "hint"), MISTAKES)
def test_p8_each_mistake_is_explained_once(text: str, code: str, under: str, message: str, hint: str) -> None:
    (found,) = mistakes(text)
    assert (found.code, found.span and text[found.span.start : found.span.end]) == (code, under)
    assert message in found.message
    assert hint in (found.hint or "")


def test_p8_several_mistakes_in_one_run() -> None:
    text = (
        "SELECT df.start('a' ~>); SELECT df.start(df.sleep(-1) ~> df.slep(2)); UPDATE t; SELECT df.start('a')"
    )
    assert [found.code for found in mistakes(text)] == ["E112", "E202", "E115", "E122"]


def test_p8_mistakes_inside_a_workflow_literal_point_into_it() -> None:
    text = "SELECT df.start($dsl$ 'a' ~> df.sleep(-1) $dsl$);"
    (found,) = mistakes(text)
    assert found.span is not None and text[found.span.start : found.span.end] == "-1"
