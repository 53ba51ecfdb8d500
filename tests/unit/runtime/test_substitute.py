"""Substitution without a server: the reference's tables, and the differences L3 to L8 and L10."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql.statement import classify
from durasql_runtime.substitute import (
    Scope,
    SubstituteError,
    substitute_break,
    substitute_raw,
    substitute_sql,
    whole_value,
)

RESULTS = {
    "one": '{"rows":[{"n":7,"s":"it\'s","f":1.50,"neg":-3,"ok":true,"no":null,"j":{"b":1,"a":[2]}}],'
    '"row_count":1}',
    "two": '{"rows":[{"id":1,"val":"a"},{"id":-2,"val":null}],"row_count":2}',
    "none": '{"rows":[],"row_count":0}',
    "hole": '{"rows":[{"n":null}],"row_count":1}',
    "upd": '{"rows":[],"row_count":0,"affected":3}',
    "resp": '{"status":200,"body":"a\\"b\\n","ok":true,"headers":{"x":"y"},"void":null}',
    "list": '[{"rows":[]},2]',
    "word": '"done"',
    "num": "2",
    "nothing": "null",
    "n": '{"rows":[{"v":1}],"row_count":1}',
    "na": '{"rows":[{"v":2}],"row_count":1}',
}
SCOPE = Scope(
    RESULTS,
    {"table": "orders", "quote": "o'clock", "ref": "$one", "sys_label": "shadowed"},
    "abcd1234",
    None,
    {"none": (("id", "integer"), ('odd"name', "text"))},
)


def test_nothing_is_touched_while_nothing_is_bound() -> None:
    assert substitute_sql("SELECT $one, '$one' {unknown}", Scope()) == "SELECT $one, '$one' {unknown}"


# ------------------------------------------------------------------------------------------- {variables}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("SELECT * FROM {table}", "SELECT * FROM orders"),
        ("'{quote}'", "'o'clock'"),
        ("{sys_instance_id}/{sys_label}/{unknown}", "abcd1234//{unknown}"),
        ('{"a":"{table}"}', '{"a":"orders"}'),
        ("{ {table} {table", "{ orders {table"),
        ("{}{1}{table }", "{}{1}{table }"),
        ("SELECT {ref}", "SELECT 7"),
    ],
)
def test_L4_braces_are_replaced_wherever_a_known_name_stands(template: str, expected: str) -> None:
    assert substitute_sql(template, SCOPE) == expected


def test_a_variable_is_not_scanned_for_braces_again() -> None:
    assert substitute_raw("{a}", Scope(variables={"a": "{b}", "b": "x"})) == "{b}"


def test_the_label_is_inserted_and_shadows_a_variable() -> None:
    assert substitute_raw("{sys_label}", Scope(variables={"sys_label": "user"}, label="nightly")) == "nightly"


# ------------------------------------------------------------------------------------------- $names in SQL


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("SELECT $one", "SELECT 7"),
        ("SELECT $one.s", "SELECT 'it''s'"),
        ("SELECT $one.f, $one.ok", "SELECT 1.50, true"),
        ("SELECT $one.j", """SELECT '{"b":1,"a":[2]}'"""),
        ("SELECT $one.no?, $none?, $none.x?, $hole?", "SELECT NULL, NULL, NULL, NULL"),
        ("SELECT $one.", "SELECT 7."),
        ("SELECT $one ? 'k'", "SELECT 7 ? 'k'"),
        ("SELECT $resp.status, $resp.body", "SELECT 200, 'a\"b\n'"),
        ("SELECT $word, $num, $nothing", "SELECT '\"done\"', '2', 'null'"),
        ("SELECT $list", """SELECT '[{"rows":[]},2]'"""),
        ("SELECT $n, $na, $nab, $1, $$, $", "SELECT 1, 2, $nab, $1, $$, $"),
        ("SELECT $One", "SELECT $One"),
        ("UPDATE part_$n SET a = 1", "UPDATE part_1 SET a = 1"),
    ],
)
def test_values_are_written_as_sql(template: str, expected: str) -> None:
    assert substitute_sql(template, SCOPE) == expected


def test_L8_negative_numbers_are_parenthesised() -> None:
    assert substitute_sql("SELECT 1-$one.neg", SCOPE) == "SELECT 1-(-3)"


def test_L10_a_statement_without_rows_stands_for_its_count() -> None:
    assert substitute_sql("SELECT $upd, '$upd', $upd?", SCOPE) == "SELECT 3, '3', 3"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("$none", "$none has no rows — query returned zero results"),
        ("$none.x", "$none has no rows — query returned zero results"),
        ("$hole", "$hole is NULL — first column of first row is NULL"),
        ("$one.no", "$one.no is NULL"),
        ("$resp.void", "$resp.void is NULL"),
        ("$two.x", "$two.x: result has no field 'x' (available: id, val)"),
        ("$resp.x", "$resp.x: result has no field 'x' (available: body, headers, ok, status, void)"),
        (
            "$one.row_count",
            "$one.row_count: result has no field 'row_count' (available: f, j, n, neg, no, ok, s)",
        ),
        ("$list.x", "$list.x: result is neither a row set nor a JSON object"),
        ("$list.x?", "$list.x: result is neither a row set nor a JSON object"),
        ("$resp.*", "$resp.* — invalid result format"),
    ],
)
def test_strict_references_fail_in_the_words_of_the_reference(template: str, message: str) -> None:
    for substitute in (substitute_sql, substitute_raw):
        with pytest.raises(SubstituteError) as caught:
            substitute(f"x {template}", SCOPE)
        assert caught.value.message == message


def test_L6_an_absent_field_is_null_when_null_safe() -> None:
    assert substitute_sql("SELECT $one.zz?, $resp.zz?", SCOPE) == "SELECT NULL, NULL"
    assert substitute_raw("$one.zz?", SCOPE) == "NULL"


# ------------------------------------------------------------------------------------------- L5: the scanner


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("SELECT 'x $one.s y'", "SELECT 'x it''s y'"),
        ("SELECT '''$one.s'", "SELECT '''it''s'"),
        ("SELECT '$one $one.neg $one.no? $word'", "SELECT '7 -3 NULL \"done\"'"),
        (r"SELECT E'\'$one.s\\$one.s'", r"SELECT E'\'it''s\\it''s'"),
        (r"SELECT E'\$one.s $one.s'", r"SELECT E'\$one.s it''s'"),
        ("SELECT e'$resp.body'", "SELECT e'a\"b\n'"),
        ("SELECT U&'$one.s'", "SELECT U&'it''s'"),
        ("SELECT B'$one', type'$one.s'", "SELECT B'7', type'it''s'"),
        ('SELECT "$one", "a""$one"', 'SELECT "$one", "a""$one"'),
        ("SELECT 1 -- $one '\n, $one", "SELECT 1 -- $one '\n, 7"),
        ("SELECT /* $one /* ' */ $one */ $one", "SELECT /* $one /* ' */ $one */ 7"),
        ("SELECT $one$it's $one.s$one$", "SELECT $one$it's it's$one$"),
        ("SELECT $$ $one.s '$one' $$", "SELECT $$ it's '7' $$"),
        ("SELECT foo$one$one", "SELECT foo77"),
        ("DO $$ BEGIN PERFORM $one.s; END $$", "DO $$ BEGIN PERFORM 'it''s'; END $$"),
        ("/* c */ do language plpgsql $x$ '$one.s' $x$", "/* c */ do language plpgsql $x$ 'it''s' $x$"),
        (
            "DO $$ EXECUTE $q$ $one.s $q$ || $q$ $one.s $q$ $$",
            "DO $$ EXECUTE $q$ 'it''s' $q$ || $q$ it's $q$ $$",
        ),
        ("DO 'SELECT $one.s'", "DO 'SELECT ''it''''s'''"),
        ("SELECT 1; DO $$ $one.s $$; SELECT $$ $one.s $$", "SELECT 1; DO $$ 'it''s' $$; SELECT $$ it's $$"),
        (
            "CREATE OR REPLACE FUNCTION f(a text DEFAULT $$ $one.s $$) AS $b$ SELECT $one.s $b$",
            "CREATE OR REPLACE FUNCTION f(a text DEFAULT $$ it's $$) AS $b$ SELECT 'it''s' $b$",
        ),
        ("SELECT 'unterminated $one.s", "SELECT 'unterminated it''s"),
        ("SELECT $one$ unterminated", "SELECT 7$ unterminated"),
    ],
)
def test_L5_references_follow_the_lexical_structure(template: str, expected: str) -> None:
    assert substitute_sql(template, SCOPE) == expected


@pytest.mark.parametrize("before", ["E", "U&", "B", "x", "E'a'", "E'a' \n ", "E'a' -- c\n"])
def test_L5_a_quoted_value_never_joins_what_stands_before_it(before: str) -> None:
    assert substitute_sql(f"SELECT {before}$one.s", SCOPE).endswith(" ('it''s')")


def test_L5_a_literal_that_goes_on_in_the_next_line_is_still_escaped() -> None:
    scope = Scope({"x": '{"rows":[{"s":"\\\\"}],"row_count":1}'})
    assert substitute_sql("SELECT E'a'\n '$x', '$x'", scope) == "SELECT E'a'\n '\\\\', '\\'"


def test_L5_a_value_cannot_close_the_dollar_quote_it_is_in() -> None:
    scope = Scope({"x": '{"rows":[{"s":"a$$b"}],"row_count":1}'})
    for template in ("SELECT $$ $x $$", "DO $$ BEGIN PERFORM '$x'; END $$"):
        with pytest.raises(SubstituteError, match="would end the dollar-quoted text"):
            substitute_sql(template, scope)
    assert substitute_sql("SELECT $q$ $x $q$", scope) == "SELECT $q$ a$$b $q$"
    assert substitute_sql("DO $$ PERFORM $x; $$", scope) == r"DO $$ PERFORM  E'a\x24\x24b'; $$"


def test_a_nul_character_is_refused_instead_of_cutting_the_statement_off() -> None:
    for text in (r"a\u0000b", r"\ud800"):
        with pytest.raises(SubstituteError):
            substitute_sql("SELECT $x.v", Scope({"x": f'{{"v":"{text}"}}'}))


# ------------------------------------------------------------------------------------------- $name.*


def test_a_row_set_is_a_from_item_with_its_alias() -> None:
    expected = """FROM (VALUES (1,'a'::text), ((-2),NULL)) AS "two"("id", "val")"""
    assert substitute_sql("FROM $two.*", SCOPE) == expected


def test_L7_an_empty_row_set_keeps_names_and_types() -> None:
    expected = 'FROM (SELECT NULL::integer AS "id", NULL::text AS "odd""name" WHERE false) AS "none"'
    assert substitute_sql("FROM $none.*", SCOPE) == expected
    assert substitute_sql("FROM $none.*", Scope(RESULTS)) == 'FROM (SELECT NULL WHERE false) AS "none"'


def test_L7_a_null_in_the_first_row_keeps_a_known_type() -> None:
    scope = Scope(RESULTS, columns={"hole": (("n", "bigint"),)})
    assert substitute_sql("FROM $hole.*", scope) == 'FROM (VALUES (NULL::bigint)) AS "hole"("n")'


def test_a_row_set_in_raw_mode_is_the_array_of_rows() -> None:
    assert substitute_raw("$two.*|$none.*", SCOPE) == '[{"id":1,"val":"a"},{"id":-2,"val":null}]|[]'
    assert substitute_sql("'$two.*'", SCOPE) == """'[{"id":1,"val":"a"},{"id":-2,"val":null}]'"""


def test_a_row_set_has_a_limit_that_its_message_names() -> None:
    rows = ",".join('{"i":1}' for _ in range(10_001))
    with pytest.raises(SubstituteError, match="exceeding the maximum of 10000 for row-set expansion"):
        substitute_sql("FROM $x.*", Scope({"x": f'{{"rows":[{rows}],"row_count":10001}}'}))


# ------------------------------------------------------------------- raw, break, base64


def test_raw_mode_inserts_values_without_quotes() -> None:
    assert substitute_raw("u/$one.s/?x=$one.neg&j=$one.j $word {quote}", SCOPE) == (
        """u/it's/?x=-3&j={"b":1,"a":[2]} "done" o'clock"""
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ("", '""'),
        ("done", '"done"'),
        ('{"a": 1.50}', '{"a":1.50}'),
        ("$one", "7"),
        ("$one.s", '"it\'s"'),
        ("$one.f", "1.50"),
        ("$one.j", '{"b":1,"a":[2]}'),
        ("$two.*", '[{"id":1,"val":"a"},{"id":-2,"val":null}]'),
        ("$none?", "null"),
        ("$resp", RESULTS["resp"]),
        ("$word", '"done"'),
        ("got $one of {table}", '"got 7 of orders"'),
        ("{table}", '"orders"'),
        ("{sys_instance_id}", '"abcd1234"'),
        ('{"who":"$resp.body","n":$one,"s":$one.s}', '{"who":"a\\"b\\n","n":7,"s":"it\'s"}'),
        ("[$one, $none?]", "[7,null]"),
        ("NaN", '"NaN"'),
        ("$unknown", '"$unknown"'),
    ],
)
def test_L3_break_values_are_substituted_and_keep_their_type(value: str | None, expected: str) -> None:
    assert substitute_break(value, SCOPE) == expected


def test_L3_a_strict_reference_in_a_break_fails_as_anywhere() -> None:
    with pytest.raises(SubstituteError, match="has no rows"):
        substitute_break("$none", SCOPE)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (" $one ", "7"),
        ("$one.s", "it's"),
        ("$none?", "NULL"),
        ("{table}", "orders"),
        ("aGVsbG8=", "aGVsbG8="),
        ("aGVs\nbG8=", "aGVs\nbG8="),
    ],
)
def test_data_b64_takes_one_whole_reference_or_plain_text(template: str, expected: str) -> None:
    assert whole_value(template, SCOPE) == expected


@pytest.mark.parametrize("template", ["x$one", "$one$two", "{table}x", "$one.*", "{table}{table}"])
def test_data_b64_refuses_a_mixture(template: str) -> None:
    with pytest.raises(SubstituteError, match="mixes a variable reference with other text"):
        whole_value(template, SCOPE)


# ------------------------------------------------------------------------------------------- properties


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_text_value_comes_back_from_a_plain_literal(text: str) -> None:
    row = json.dumps({"rows": [{"v": text}], "row_count": 1}, ensure_ascii=False)
    done = substitute_sql("$x '$x'", Scope({"x": row}))
    doubled = text.replace("'", "''")
    assert done == f"'{doubled}' '{doubled}'"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_L3_a_whole_reference_is_the_json_value_itself(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    scope = Scope({"x": f'{{"rows":[{{"v":{text}}}],"row_count":1}}', "y": f'{{"v":{text}}}'})
    assert substitute_break("$x?", scope) == text
    assert substitute_break("$y.v?", scope) == text
    assert json.loads(substitute_break('{"a":[$x?]}', scope)) == {"a": [value]}


@given(st.text(alphabet="$x'\"E\\ &U-/*\n;.?a{}1b", max_size=40))
def test_substitution_never_crashes_and_leaves_text_without_known_names_alone(template: str) -> None:
    assert substitute_sql(template, Scope({"unknown": "1"})) == template
    try:
        substitute_sql(template, SCOPE)
        substitute_sql(template, Scope({"x": '{"rows":[{"b":"\'"}],"row_count":1}'}))
    except SubstituteError:
        pass


def test_a_row_set_keeps_the_text_of_what_is_nested() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    for nested in ('{"b":1.50,"b":[2]}', deep):
        scope = Scope({"x": f'{{"rows":[{{"j":{nested},"n":1e3}}],"row_count":1}}'})
        expected = f"""(VALUES ('{nested}'::text,1e3)) AS "x"("j", "n")"""
        assert substitute_sql("$x.*", scope) == expected


HOSTILE = ["$a", "$a$ $b", "{", "{x", "'", '\\"', '{"', "/*", "--", "E'\\", "U&'' ", "$q$ '", "a$", "(", ";"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_P9_a_hostile_text_takes_no_more_time_than_a_long_one(piece: str) -> None:
    """60 kB of it: with anything quadratic this test would not end before its timeout."""
    text = piece * (60_000 // len(piece))
    numbered = " ".join(f"$t{number}$" for number in range(30_000))
    for template in (text, "{" + text, numbered):
        for substitute in (substitute_sql, substitute_raw, substitute_break):
            assert substitute(template, Scope({"other": "1"}, {"v": ""}))
        classify(template)


@pytest.mark.parametrize("piece", ["$x", "{v}"])
def test_P9_substitution_has_a_limit_however_often_a_value_is_used(piece: str) -> None:
    large = "y" * 1_000_000
    scope = Scope({"x": f'{{"v":"{large}"}}'}, {"v": large})
    for substitute in (substitute_sql, substitute_raw, substitute_break):
        with pytest.raises(SubstituteError, match="characters after substitution"):
            substitute(piece * 100, scope)


def test_P9_bodies_within_bodies_do_not_exhaust_the_stack() -> None:
    text = "$x"
    for number in range(500):
        text = f"EXECUTE $b{number}$ {text} $b{number}$"
    assert substitute_sql("DO " + text, SCOPE).count("$b499$") == 2
