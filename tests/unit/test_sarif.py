"""Findings as SARIF: what the schema of version 2.1.0 requires, and the places that viewers mark."""

from __future__ import annotations

import json

from durasql.errors import CompileError
from durasql.pipeline import compile_text
from durasql.sarif import as_sarif


def log_of(text: str, name: str) -> dict[str, object]:
    try:
        found = compile_text(text, name).diagnostics
    except CompileError as error:
        found = error.diagnostics
    log = as_sarif(found)
    return json.loads(json.dumps(log))  # type: ignore[no-any-return]


def test_p8_what_the_schema_requires_is_there() -> None:
    log = log_of("'SELECT 1' ~> 'SELEC 2' & 'SELECT 3'", "a b.dsql")
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]  # type: ignore[misc]
    driver = run["tool"]["driver"]
    assert driver["name"] == "durasql"
    assert [rule["id"] for rule in driver["rules"]] == ["E213", "W208"]
    assert {result["level"] for result in run["results"]} == {"error", "warning"}
    for result in run["results"]:
        assert result["message"]["text"]
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "a%20b.dsql"
        region = place["region"]
        assert (region["startLine"], region["startColumn"]) < (region["endLine"], region["endColumn"])


def test_columns_are_characters() -> None:
    (run,) = log_of("-- 😀\n$$SELECT '😀', FROM t$$", "/w/x.dsql")["runs"]  # type: ignore[misc]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    assert run["columnKind"] == "unicodeCodePoints"
    assert place["artifactLocation"]["uri"] == "file:///w/x.dsql"
    assert place["region"] == {"startLine": 2, "startColumn": 15, "endLine": 2, "endColumn": 19}


def test_no_findings_are_a_valid_log() -> None:
    (run,) = log_of("'SELECT 1'", "x.dsql")["runs"]  # type: ignore[misc]
    assert run["results"] == []
