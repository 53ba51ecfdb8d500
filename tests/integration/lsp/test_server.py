"""`durasql lsp` as an editor meets it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from durasql.cli import entry
from durasql.lsp.hover import OPERATORS
from durasql.syntax.build import vocabulary

GOOD = """-- nightly 😀
SELECT df.setvar('region', 'eu');
SELECT df.start(
    $$SELECT id, day FROM orders WHERE region = '{region}'$$ |=> 'batch'
    ~> 'SELECT $batch.day'
    ~> ('VACUUM orders' & df.wait_for_schedule('0 6 * * *'))
    ~> df.http('https://example.com/$batch', 'GET')
    ~> df.if_rows('batch', 'SELECT 1', 'SELECT 2')
);
"""


def test_p8_findings_follow_the_text(editor: Any) -> None:
    found = editor.open("'SELECT 1' |=> 'a'\n~> 'SELECT $b'\n")
    assert [(item["code"], item["severity"]) for item in found] == [("E215", 1)]
    assert editor.marked(found[0]) == "$b"
    assert editor.change("'SELECT 1' |=> 'a'\n~> 'SELECT $a'\n") == []
    (found,) = editor.change("'SELECT 1' |=> 'a'\n~> 'SELECT $a'\n~>")
    assert found["code"] == "E112"


def test_p8_places_are_in_the_units_of_the_editor(editor: Any) -> None:
    found = editor.change("$$SELECT '😀😀', FROM t$$")
    assert editor.marked(found[0]) == "FROM"
    assert found[0]["range"]["start"]["character"] == 17


@pytest.mark.parametrize(
    "text", ["", "\n", "'", "$$", "(" * 400, "'SELECT 1'\r\n~> 'SELEC'", "\0", "\u2028'x"]
)
def test_p8_any_text_gets_findings_and_no_error(editor: Any, text: str) -> None:
    found = editor.change(text)
    assert found and found[0]["code"]
    editor.request(
        "textDocument/hover",
        textDocument={"uri": "file:///work/nightly.dsql"},
        position={"line": 0, "character": 0},
    )


def test_incremental_changes(editor: Any) -> None:
    editor.change("'SELECT 1'")
    place = {"start": {"line": 0, "character": 8}, "end": {"line": 0, "character": 9}}
    document = {"uri": "file:///work/nightly.dsql", "version": 99}
    editor.notify(
        "textDocument/didChange", textDocument=document, contentChanges=[{"range": place, "text": "FROM"}]
    )
    (found,) = editor.findings()
    assert found["code"] == "E213"


HOVERS = {
    "a reference": ("$batch.day", ["**$batch**", "SQL (line 4)", "rows (id, day)"]),
    "a binding": ("'batch'\n", ["**$batch**", "rows (id, day)"]),
    "a name in a URL": ("|$batch'", ["**$batch**"]),
    "a name of if_rows": ("batch', 'SELECT 1'", ["**$batch**"]),
    "a step that is at least once": ("VACUUM", ["**SQL** · runs at least once"]),
    "a step": ("SELECT id", ["**SQL** · runs exactly once", "result: rows (id, day)"]),
    "a schedule": ("0 6 *", ["**WAIT_SCHEDULE**", "next: ", "06:00, ", " UTC"]),
    "a request": ("https", ["**HTTP** · runs at least once", "object (status, body"]),
    "an operator": ("& df", ["waits for both", "equally and to the left"]),
    "a function": ("if_rows", ["df.if_rows(result_name text", "named result has rows"]),
}


@pytest.mark.parametrize("name", HOVERS)
def test_hover(editor: Any, name: str) -> None:
    assert {item["code"] for item in editor.change(GOOD)} <= {"I202", "I203"}
    mark, expected = HOVERS[name]
    shown = editor.at("hover", mark)["contents"]
    assert shown["kind"] == "markdown"
    for text in expected:
        assert text in shown["value"]


def test_hover_over_nothing(editor: Any) -> None:
    editor.change(GOOD)
    assert editor.at("hover", "-- nightly") is None


@pytest.mark.parametrize("mark", ["$batch.day", "|$batch'", "batch', 'SELECT 1'"])
def test_definition_is_where_the_name_is_bound(editor: Any, mark: str) -> None:
    editor.change(GOOD)
    (found,) = editor.at("definition", mark)
    assert found["range"]["start"]["line"] == 3
    assert editor.marked(found) == "'batch'"


def test_definition_of_nothing(editor: Any) -> None:
    editor.change(GOOD)
    assert not editor.at("definition", "SELECT 1")


def offers(editor: Any, text: str, mark: str) -> list[str]:
    editor.change(text)
    return [item["label"] for item in editor.at("completion", mark)["items"]]


def test_completion_of_names_in_scope(editor: Any) -> None:
    text = "'SELECT 1 AS x' |=> 'a' ~> 'SELECT $' ~> ('SELECT 2' |=> 'later')"
    assert offers(editor, text, "'SELECT $|'") == ["$a"]


def test_completion_in_a_text_that_does_not_parse(editor: Any) -> None:
    editor.change("'SELECT 1 AS x, 2 AS y' |=> 'a'")
    text = "'SELECT 1 AS x, 2 AS y' |=> 'a' ~> 'SELECT $a."
    assert offers(editor, text, "$a.|") == ["x", "y", "*"]
    assert offers(editor, "'SELECT 1' |=> 'a' ~> 'SELECT $", "SELECT $|") == ["$a"]


def test_completion_replaces_what_is_typed(editor: Any) -> None:
    editor.change("'SELECT 1 AS id' |=> 'batch' ~> 'SELECT $ba'")
    (item,) = editor.at("completion", "$ba|'")["items"]
    assert editor.marked(item["textEdit"]) == "$ba" and item["textEdit"]["newText"] == "$batch"
    assert item["detail"] == "rows (id)"


def test_completion_of_functions_and_variables(editor: Any) -> None:
    found = offers(editor, "'SELECT 1' ~> df.", "df.|")
    assert {"sleep", "http", "if_rows", "wait_for_signal"} <= set(found)
    assert "region" in offers(editor, GOOD.replace("{region}", "{"), "'{|'")
    assert offers(editor, GOOD, "nightly|") == []


def test_formatting(editor: Any) -> None:
    editor.change("'SELECT 1'   ~>    'SELECT 2'\n\n")
    parameters = {
        "textDocument": {"uri": "file:///work/nightly.dsql"},
        "options": {"tabSize": 4, "insertSpaces": True},
    }
    (edit,) = editor.request("textDocument/formatting", **parameters)
    assert edit["newText"] == "'SELECT 1' ~> 'SELECT 2'\n"
    assert edit["range"] == {"start": {"line": 0, "character": 0}, "end": {"line": 2, "character": 0}}
    editor.change(edit["newText"])
    assert editor.request("textDocument/formatting", **parameters) == []
    editor.change("'SELECT 1' ~>")
    assert editor.request("textDocument/formatting", **parameters) is None


def test_it_ends_when_told(editor: Any) -> None:
    other = type(editor)(["utf-8"])
    try:
        assert other.capabilities["hoverProvider"] and other.capabilities["documentFormattingProvider"]
        assert other.close() == 0
    finally:
        other.kill()


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "durasql.lsp.server", raising=False)
    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)
    assert entry.run(["lsp"]) == 2
    assert "pip install 'durasql[lsp]'" in capfd.readouterr().err


def test_every_operator_has_a_text() -> None:
    signs = {name for text, name in vocabulary().symbols.items() if not set(text) & set("(),.;:-")}
    assert signs - {"ARROW"} == set(OPERATORS)
