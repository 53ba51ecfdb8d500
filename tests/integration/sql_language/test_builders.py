"""Builders: the envelopes of language.md, byte for byte, and what each of them refuses."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

Q = '{"node_type":"SQL","query":"%s"}'
A, B, C = (Q % letter for letter in "abc")


def configured(node_type: str, config: str) -> str:
    return f'{{"node_type":"{node_type}","query":{json.dumps(config, ensure_ascii=False)}}}'


ENVELOPES = {
    "df.sql('a')": A,
    "df.sql(df.sql('a'))": f'{{"node_type":"SQL","query":{json.dumps(A)}}}',
    "df.seq('a', 'b')": f'{{"node_type":"THEN","left_node":{A},"right_node":{B}}}',
    "df.as('a', 'n')": '{"node_type":"SQL","query":"a","result_name":"n"}',
    "df.as(df.as('a', 'n'), 'm')": '{"node_type":"SQL","query":"a","result_name":"m"}',
    "df.join('a', 'b')": f'{{"node_type":"JOIN","left_node":{A},"right_node":{B}}}',
    "df.join3('a', 'b', 'c')": f'{{"node_type":"JOIN","left_node":{A},"right_node":{B},"extra_nodes":[{C}]}}',
    "df.as(df.join3('a', 'b', 'c'), 'n')": (
        f'{{"node_type":"JOIN","left_node":{A},"right_node":{B},"extra_nodes":[{C}],"result_name":"n"}}'
    ),
    "df.race('a', 'b')": f'{{"node_type":"RACE","left_node":{A},"right_node":{B}}}',
    "df.if('a', 'b', 'c')": f'{{"node_type":"IF","left_node":{B},"right_node":{C},"condition_node":{A}}}',
    "df.if_rows('any name', 'b', 'c')": (
        f'{{"node_type":"IF","left_node":{B},"right_node":{C},'
        '"query":"{\\"condition_type\\":\\"result_has_rows\\",\\"result_name\\":\\"any name\\"}"}'
    ),
    "df.loop('a')": f'{{"node_type":"LOOP","left_node":{A}}}',
    "df.loop('a', 'b')": f'{{"node_type":"LOOP","left_node":{A},"condition_node":{B}}}',
    "df.loop('a', NULL)": f'{{"node_type":"LOOP","left_node":{A}}}',
    "df.break()": configured("BREAK", '{"break_value":null}'),
    "df.break('')": configured("BREAK", '{"break_value":""}'),
    "df.break('{\"a\":1}')": configured("BREAK", '{"break_value":"{\\"a\\":1}"}'),
    "df.sleep(0)": '{"node_type":"SLEEP","query":"0"}',
    "df.sleep(9223372036854775807)": '{"node_type":"SLEEP","query":"9223372036854775807"}',
    "df.wait_for_schedule('@daily')": configured("WAIT_SCHEDULE", '{"cron_expr":"@daily"}'),
    "df.wait_for_schedule('0 6 * * mon-fri', timezone => 'Europe/Berlin')": configured(
        "WAIT_SCHEDULE", '{"cron_expr":"0 6 * * mon-fri","timezone":"Europe/Berlin"}'
    ),
    "df.wait_for_signal('go')": configured("SIGNAL", '{"signal_name":"go","timeout_seconds":null}'),
    "df.wait_for_signal('a \"b\"', 5)": configured(
        "SIGNAL", '{"signal_name":"a \\"b\\"","timeout_seconds":5}'
    ),
    "df.http('https://x')": configured(
        "HTTP", '{"url":"https://x","method":"POST","body":null,"headers":null,"timeout_seconds":30}'
    ),
    'df.http(\'HTTPS://x/$y\', \'get\', E\'b\\n\', \'{"bb": "2, 3: 4", "a": "\\"", "C":"ü"}\',5)': configured(
        "HTTP",
        '{"url":"HTTPS://x/$y","method":"GET","body":"b\\n",'
        '"headers":{"C":"ü","a":"\\"","bb":"2, 3: 4"},"timeout_seconds":5}',
    ),
    'df.http_multipart(\'https://x\', parts => \'[{"name": "f", "data_b64": "eA=="}]\')': configured(
        "HTTP_MULTIPART",
        '{"url":"https://x","method":"POST","parts":[{"name":"f","data_b64":"eA=="}],'
        '"headers":null,"timeout_seconds":30}',
    ),
    "df.http('$base/x')": configured(
        "HTTP", '{"url":"$base/x","method":"POST","body":null,"headers":null,"timeout_seconds":30}'
    ),
    "df.http('{base}/x')": configured(
        "HTTP", '{"url":"{base}/x","method":"POST","body":null,"headers":null,"timeout_seconds":30}'
    ),
    "df.as_op('a', 'n')": '{"node_type":"SQL","query":"a","result_name":"n"}',
    "df.if_then_op('a', 'b')": '{"condition": "a", "_partial_if": true, "then_branch": "b"}',
    "df.if_else_op(df.if_then_op('a', 'b'), 'c')": (
        f'{{"node_type":"IF","left_node":{B},"right_node":{C},"condition_node":{A}}}'
    ),
    "df.loop_prefix_op('a')": f'{{"node_type":"LOOP","left_node":{A}}}',
}


@pytest.mark.parametrize("expression", ENVELOPES)
def test_envelope(ask: Any, expression: str) -> None:
    assert ask(expression) == ENVELOPES[expression]


REFUSALS = {
    "df.as('a', '')": "df.as: result name cannot be empty",
    "df.as('a', 'b c')": (
        "df.as: result name 'b c' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*"
    ),
    "df.as('a', 'é')": "df.as: result name 'é' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*",
    "df.as('a', E'b\\n')": (
        "df.as: result name 'b\n' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*"
    ),
    "df.sleep(-1)": "Sleep duration must be non-negative",
    "df.wait_for_schedule('x')": (
        "Invalid cron expression 'x': expected 5 fields (minute hour day-of-month month day-of-week), found 1"
    ),
    "df.wait_for_schedule('@daily', 'Mars/Crater')": "Unknown time zone 'Mars/Crater'",
    "df.wait_for_schedule('@daily', 'FOO+3')": "Unknown time zone 'FOO+3'",
    "df.wait_for_signal('')": "Signal name cannot be empty",
    "df.wait_for_signal('a', 0)": "Timeout must be positive",
    "df.http('file:///etc/passwd')": (
        "Blocked: unsupported URL scheme 'file'. Only http and https are allowed."
    ),
    "df.http('example.com')": (
        "Blocked: unsupported URL scheme 'example.com'. Only http and https are allowed."
    ),
    "df.http('ftp://x', 'FOO', timeout_seconds => 0)": (
        "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed."
    ),
    "df.http('https://x', 'head', timeout_seconds => 0)": (
        "Invalid HTTP method: HEAD. Must be GET, POST, PUT, DELETE, or PATCH"
    ),
    "df.http('https://x', timeout_seconds => 0)": "Timeout must be positive",
    "df.http_multipart('https://x', 'GET')": (
        "Invalid HTTP method for multipart: GET. Must be POST, PUT, or PATCH"
    ),
    "df.http_multipart('https://x', timeout_seconds => -1)": "Timeout must be positive",
    "df.http_multipart('https://x')": "parts is required and cannot be NULL",
    "df.http_multipart('https://x', parts => '{}')": "parts must be a JSON array of part objects",
    "df.http_multipart('https://x', parts => '[]')": "parts must contain at least one part",
    # S5: what could not be sent is refused instead of dropped
    "df.http('https://x', headers => '[]')": (
        "headers must be a JSON object of header names and string values"
    ),
    "df.http('https://x', headers => '{\"a\": 1}')": "HTTP header 'a' must be a string",
    "df.http('https://x', headers => '{\"a\": null}')": "HTTP header 'a' must be a string",
    "df.http('https://x', headers => '{\"a b\": \"1\"}')": "Invalid HTTP header name 'a b'",
    "df.http('https://x', headers => '{\"a\": \"1\\r\\nX: 2\"}')": (
        "HTTP header 'a' must not contain line breaks"
    ),
    # functions that are not strict name the argument
    "df.loop(NULL)": "df.loop: body must not be null",
    "df.wait_for_signal(NULL)": "df.wait_for_signal: name must not be null",
    "df.http(NULL)": "df.http: url must not be null",
    "df.http('https://x', NULL)": "df.http: method must not be null",
    "df.http('https://x', timeout_seconds => NULL)": "df.http: timeout_seconds must not be null",
}


@pytest.mark.parametrize("expression", REFUSALS)
def test_refusal(refused: Any, expression: str) -> None:
    error = refused(expression)
    assert error.diag.message_primary == REFUSALS[expression]
    assert error.sqlstate is not None and error.sqlstate[:2] in ("22", "42")


@pytest.mark.parametrize(
    "call",
    [
        "sql(NULL)",
        "seq('a', NULL)",
        "as('a', NULL)",
        "sleep(NULL)",
        "wait_for_schedule(NULL)",
        "if('a', NULL, 'b')",
        "if_rows(NULL, 'a', 'b')",
        "join('a', NULL)",
        "join3('a', 'b', NULL)",
        "race(NULL, 'b')",
        "as_op(NULL, 'n')",
    ],
)
def test_strict_builders_give_null(ask: Any, call: str) -> None:
    assert ask(f"df.{call}") is None


def test_every_builder_has_the_documented_signature(user: psycopg.Connection[Any]) -> None:
    rows = user.execute(
        "SELECT proname || '(' || pg_get_function_arguments(oid) || ')' || CASE WHEN proisstrict THEN '"
        " strict' ELSE '' END || ' ' || provolatile::text FROM pg_proc WHERE pronamespace ="
        " 'df'::regnamespace AND proname = ANY(%s) ORDER BY 1",
        (
            [
                "sql",
                "seq",
                "as",
                "sleep",
                "wait_for_schedule",
                "loop",
                "break",
                "if",
                "if_rows",
                "join",
                "join3",
                "race",
                "http",
                "http_multipart",
                "wait_for_signal",
                "as_op",
                "if_then_op",
                "if_else_op",
                "loop_prefix_op",
                "ensure_durofut",
            ],
        ),
    ).fetchall()
    assert [row[0] for row in rows] == [
        "as(fut text, name text) strict v",
        "as_op(fut text, name text) i",
        "break(value text DEFAULT NULL::text) v",
        (
            "http(url text, method text DEFAULT 'POST'::text, body text DEFAULT NULL::text, headers jsonb"
            " DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30) v"
        ),
        (
            "http_multipart(url text, method text DEFAULT 'POST'::text, parts jsonb DEFAULT NULL::jsonb,"
            " headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30) v"
        ),
        "if(condition text, then_branch text, else_branch text) strict v",
        "if_else_op(partial_if text, else_branch text) i",
        "if_rows(result_name text, then_branch text, else_branch text) strict v",
        "if_then_op(condition text, then_branch text) i",
        "join(a text, b text) strict v",
        "join3(a text, b text, c text) strict v",
        "loop(body text, condition text DEFAULT NULL::text, continue_on_failure boolean DEFAULT false) v",
        "loop_prefix_op(body text) i",
        "race(a text, b text) strict v",
        "seq(a text, b text) strict v",
        "sleep(seconds bigint) strict v",
        "sql(query text) strict v",
        "wait_for_schedule(cron_expr text, timezone text DEFAULT NULL::text) v",
        "wait_for_signal(name text, timeout_seconds integer DEFAULT NULL::integer) v",
    ]


@pytest.mark.parametrize(
    "text", ["it's", 'a"b\\c', "tab\tline\nfeed\rback\bform\f", "\x01\x1f\x7f", "é☃𝄞", "$x {y}", "", " "]
)
def test_any_text_is_escaped_as_json_dumps_does(ask: Any, text: str) -> None:
    assert ask("df.sql(%s)", text) == configured("SQL", text)


def test_what_is_built_does_not_depend_on_the_callers_search_path(
    user: psycopg.Connection[Any], ask: Any
) -> None:
    before = ask("df.if('a', df.sleep(1), df.http('https://x', headers => '{\"a\":\"b\"}'))")
    user.execute("CREATE TEMP TABLE t (x int); SET search_path = pg_temp")
    assert ask("df.if('a', df.sleep(1), df.http('https://x', headers => '{\"a\":\"b\"}'))") == before
