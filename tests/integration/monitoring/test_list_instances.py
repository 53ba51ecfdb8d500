"""df.list_instances in both forms: filters, limits and the cursor contract."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

PAGE = "SELECT * FROM df.list_instances(%s, %s, %s, %s)"


@pytest.fixture
def six(stories: Any) -> Any:
    """Six instances, oldest first, of which two were made in the same transaction (same created_at)."""
    stories.ids = [stories.start("'SELECT 1'", "even" if n % 2 == 0 else "odd").id for n in range(4)]
    with stories.user.transaction():
        stories.ids += sorted((stories.start("'SELECT 1'", "twin").id for _ in range(2)), reverse=True)
    return stories


def pages(stories: Any, size: int, status: str | None = None, label: str | None = None) -> list[list[Any]]:
    found, cursor = [], None
    while True:
        page = stories.all(PAGE, status, size, label, cursor)
        found.append([row[0] for row in page])
        cursors = {row[8] for row in page}
        assert len(cursors) <= 1, "next_cursor is the same on every row of a page"
        cursor = cursors.pop() if cursors else None
        if cursor is None:
            return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7])
def test_pages_hold_everything_once_newest_first(six: Any, size: int) -> None:
    found = pages(six, size)
    assert [id for page in found for id in page] == list(reversed(six.ids))
    assert all(len(page) == size for page in found[:-1])


def test_filters_are_exact_and_combined(six: Any) -> None:
    six.one("SELECT df.cancel(%s)", six.ids[0])
    assert pages(six, 10, "cancelled", "even") == [[six.ids[0]]]
    assert pages(six, 10, "pending", "even") == [[six.ids[2]]]
    assert pages(six, 10, "cancelled", "odd") == [[]]
    assert pages(six, 10, "no such status") == [[]]
    assert pages(six, 1, None, "odd") == [[six.ids[3]], [six.ids[1]]]


def test_the_basic_form(six: Any) -> None:
    rows = six.all("SELECT * FROM df.list_instances()")
    assert [row[0] for row in rows] == list(reversed(six.ids))
    assert rows[-1][1:] == ("even", "pg_durable::orchestration::execute-function-graph", "pending", 1, None)
    assert len(six.all("SELECT * FROM df.list_instances(NULL, 2)")) == 2
    assert len(six.all("SELECT * FROM df.list_instances('pending')")) == 6


@pytest.mark.parametrize(
    ("status", "expected"),
    [("completed", '{"rows":[]}'), ("failed", '{"rows":[]}'), ("cancelled", "canceled: enough")],
)
def test_output_follows_the_status(stories: Any, status: str, expected: str) -> None:
    story = stories.start("'SELECT 1'").claimed()
    if status == "cancelled":
        stories.one("SELECT df.cancel(%s, 'enough')", story.id)
    else:
        story.ended(status, '{"rows":[]}')
    assert stories.all(
        "SELECT status, output, completed_at IS NULL FROM df.list_instances(NULL, 1, NULL)"
    ) == [(status, expected, status != "completed")]


def test_a_root_loop_counts_its_executions(stories: Any) -> None:
    stories.start("@> 'SELECT 1'").claimed().row(0, "looping", gen="7")
    stories.start("'SELECT 1' ~> df.loop('SELECT 2')").claimed().row(2, "looping", gen="7")
    assert stories.all("SELECT execution_count FROM df.list_instances()") == [(1,), (7,)]


def test_the_limit_is_a_setting(six: Any) -> None:
    six.owner.execute("UPDATE df.settings SET value = '3' WHERE name = 'list_instances_max_limit'")
    assert len(six.all("SELECT * FROM df.list_instances(NULL, 3)")) == 3
    with pytest.raises(errors.InvalidParameterValue) as refused:
        six.all("SELECT * FROM df.list_instances(NULL, 4)")
    assert refused.value.diag.message_primary == (
        "df.list_instances: limit_count (4) exceeds pg_durable.list_instances_max_limit (3); request fewer"
        " rows, or use the paginated df.list_instances overload (after_cursor/next_cursor) for large result"
        " sets"
    )


@pytest.mark.parametrize("form", ["NULL, %s", "NULL, %s, NULL, NULL"])
@pytest.mark.parametrize(
    ("limit", "error", "text"),
    [
        ("0", errors.InvalidParameterValue, "limit_count must be at least 1"),
        ("-5", errors.InvalidParameterValue, "limit_count must be at least 1"),
        ("NULL", errors.NullValueNotAllowed, "limit_count must not be null"),
    ],
)
def test_limits_that_make_no_sense(stories: Any, form: str, limit: str, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        stories.all(f"SELECT * FROM df.list_instances({form % limit})")


def hexed(text: str) -> str:
    return text.encode().hex()


GOOD = "2026-01-02T03:04:05.678901+00"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "a",
        "zz",
        "ff",
        "00",
        hexed("v1|" + GOOD) + "0",
        hexed("v1|" + "x" * 300),
        hexed(f"v1|{GOOD}|{'a' * 500}"),
        hexed(f"v2|{GOOD}|00000001"),
        hexed("v1||00000001"),
        hexed(f"v1|{GOOD}|"),
        hexed(f"v1|{GOOD}"),
        hexed("v1|2026-01-02 03:04:05.678901+00|00000001"),
        hexed("v1|2026-13-02T03:04:05.678901+00|00000001"),
        hexed("v1|infinity|00000001"),
        hexed("v1|2026-01-02T03:04:05+00|00000001"),
        hexed(f"v1|{GOOD}|0|1"),
        hexed(f"v1|{GOOD}'; DROP TABLE df.instances; --|00000001"),
    ],
)
def test_a_malformed_cursor_is_refused(stories: Any, cursor: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        stories.all(PAGE, None, 10, None, cursor)
    assert refused.value.diag.message_primary == "df.list_instances: invalid after_cursor"


def test_a_cursor_is_the_documented_text_in_hex(six: Any) -> None:
    six.user.execute("SET timezone = 'Asia/Kolkata'")
    page = six.all(PAGE, None, 1, None, None)[0]
    version, created, id = bytes.fromhex(page[8]).decode().split("|")
    assert (version, id) == ("v1", six.ids[-1])
    assert created == page[6].strftime("%Y-%m-%dT%H:%M:%S.%f") + "+05:30"


def test_a_cursor_shows_nothing_of_others(six: Any) -> None:
    cursor = six.all(PAGE, None, 2, None, None)[0][8]
    stranger = six.database.role()
    with six.database.connect(stranger) as connection:
        assert connection.execute(PAGE, (None, 10, None, cursor)).fetchall() == []


def test_a_page_reads_no_more_than_itself(stories: Any) -> None:
    stories.start("'SELECT 1'")
    stories.owner.execute(
        "INSERT INTO df.instances (status, program, submitted_by, created_at) SELECT 'completed', i.program,"
        " i.submitted_by, now() - make_interval(secs => n) FROM df.instances i, generate_series(1, 5000) n"
    )
    stories.owner.execute("ANALYZE df.instances")
    plan = stories.owner.execute(
        "EXPLAIN SELECT * FROM df.instances i WHERE i.created_at IS NOT NULL AND i.status = 'completed'"
        " AND i.created_at <= now() AND (i.created_at < now() OR i.id > 'x')"
        " ORDER BY i.created_at DESC, i.id LIMIT 9"
    ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Index Scan using idx_instances_" in text
    assert "Sort" not in text


def test_text_that_looks_like_sql_is_only_text(six: Any) -> None:
    hostile = "x' OR true; --"
    assert six.all(PAGE, hostile, 10, hostile, None) == []
    with pytest.raises(psycopg.Error):
        six.all(PAGE, None, 10, None, hostile)
