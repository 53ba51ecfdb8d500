"""Findings as SARIF 2.1.0, the format that code hosts and editors read. In: diagnostics. Out: one log.

Columns count Unicode characters from 1, ends are exclusive, as in all of durasql.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from durasql import __version__
from durasql.codes import CODES
from durasql.errors import Diagnostic, Severity

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVEL: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def as_sarif(found: Sequence[Diagnostic]) -> dict[str, Any]:
    """One log with one run; its rules are the codes that were found."""
    codes = sorted({item.code for item in found})
    driver = {
        "name": "durasql",
        "version": __version__,
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(item, codes.index(item.code)) for item in found],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    entry = CODES[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in entry.title.replace("$", "").split()),
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.explanation},
        "help": {"text": f"{entry.explanation}\n\nExample: {entry.example}"},
        "defaultConfiguration": {"level": _LEVEL[entry.severity]},
    }


def _result(item: Diagnostic, rule: int) -> dict[str, Any]:
    text = f"{item.message}\n{item.hint}" if item.hint else item.message
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(item.source.name)}}
    if item.span is not None:
        start = item.source.position(item.span.start)
        end = item.source.position(max(item.span.start, item.span.end))
        place["region"] = {
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        }
    return {
        "ruleId": item.code,
        "ruleIndex": rule,
        "level": _LEVEL[item.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _uri(name: str) -> str:
    """A relative reference for a relative path, file:// for an absolute one."""
    path = PurePath(name)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
