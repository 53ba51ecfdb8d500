"""What a session may set changes nothing about what the functions mean."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

# Everything an ordinary role may set that touches literals, names, texts or times.
SETTINGS = (
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "array_nulls = off",
    "DateStyle = 'SQL, DMY'",
    "TimeZone = 'Asia/Kolkata'",
    "IntervalStyle = 'iso_8601'",
    "bytea_output = 'escape'",
    "extra_float_digits = -15",
    "search_path = ''",
    "default_transaction_isolation = 'serializable'",
    "plan_cache_mode = force_generic_plan",
)

# Each gives the same text whenever it is asked.
QUESTIONS = (
    "df.seq('SELECT 1', df.as(' {\"a\": 1}', 'x'))",
    'df.http(\'https://example.org/\', headers => \'{"A": "b, c", "D": "e: f"}\')',
    'df.http_multipart(\'https://example.org/\', parts => \'[{"name": "n", "data_b64": ""}]\')',
    "df.wait_for_schedule('*/5 0-6 1,15 * mon-fri')",
    "df.explain($dsl$ ('SELECT 1' |=> 'a' ~> $$b$$) & df.sleep(3) -- comment $dsl$)",
    "df.explain($dsl$ E'tab\\tbed' | U&'x' /* a /* nested */ comment */ $dsl$)",
    "df.explain('  SELECT 1  ')",
    "df.explain(df.if_rows('a', 'b', df.break('{\"c\": 1}')))",
    "df.start($dsl$ E'a\\nb' ~> @> ('c' ~> df.sleep(60)) $dsl$) ~ '^[0-9a-f]{8}$'",
    "df.start(df.loop('SELECT 1', 'SELECT false')) ~ '^[0-9a-f]{8}$'",
    "(SELECT string_agg(DISTINCT program, ',' ORDER BY program) FROM df.instances)",
    "(SELECT count(*) FROM df.instances i, df.instance_nodes(i.id) n)",
    "(SELECT count(*) FROM df.list_instances(NULL, 1, NULL,"
    " (SELECT next_cursor FROM df.list_instances(NULL, 1, NULL))))",
    "df.setvar('a', 'b\\c') || df.getvar('a')",
    "regexp_replace(df.explain((SELECT max(id) FROM df.instances)), 'Instance: .*', '')",
)


@pytest.fixture(scope="module")
def ordinary(database: Any) -> list[str]:
    return answers(database, "")


def answers(database: Any, setting: str) -> list[str]:
    """What a role of its own is told, so that only the setting can make a difference."""
    with database.connect(database.role(include_http=True)) as user:
        user.prepare_threshold = None
        # The question's own literals are written with the default; only the functions read with the setting.
        values = [f"SELECT ({question})::text" for question in QUESTIONS]
        if setting:
            user.execute(f"SET {setting}")
        return [_ask(user, _literal(setting, value)) for value in values]


def _literal(setting: str, query: str) -> str:
    """The query as it must be written where backslashes escape: dollar quotes are as they are."""
    if not setting.startswith("standard_conforming_strings"):
        return query
    return query if "$dsl$" in query else query.replace("\\", "\\\\")


def _ask(user: psycopg.Connection[Any], query: str) -> str:
    row = user.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_session_changes_no_answer(database: Any, ordinary: list[str], setting: str) -> None:
    found = answers(database, setting)
    assert dict(zip(QUESTIONS, found, strict=True)) == dict(zip(QUESTIONS, ordinary, strict=True))
