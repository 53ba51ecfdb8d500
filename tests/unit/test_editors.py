"""The files for editors: made of the language's tables, and sound as far as can be seen without an editor."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durasql.syntax.build import vocabulary
from durasql.syntax.signatures import BUILDERS

EDITORS = Path(__file__).parents[2] / "editors"
VSCODE = EDITORS / "vscode"


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", EDITORS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grammar(generate: Any) -> dict[str, Any]:
    return json.loads(generate.TARGET.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def matching(grammar: dict[str, Any], rule: str, text: str) -> list[str]:
    """The scopes of the patterns of a rule that match the whole text, the first of which wins."""
    found = []
    for pattern in grammar["repository"][rule]["patterns"]:
        match = re.match(pattern.get("match", "(?!)"), text)
        if match:
            found.append(pattern.get("name", pattern.get("captures", {}).get("3", {}).get("name")))
    return found


def test_the_grammar_is_up_to_date(generate: Any) -> None:
    assert generate.TARGET.read_text(encoding="utf-8") == generate.page(), "run python editors/generate.py"


def test_every_include_leads_somewhere(grammar: dict[str, Any]) -> None:
    for item in objects(grammar):
        if "include" in item:
            assert item["include"].removeprefix("#") in grammar["repository"]


def test_every_expression_compiles(grammar: dict[str, Any]) -> None:
    for item in objects(grammar):
        for key in ("match", "begin"):
            if isinstance(item.get(key), str):
                re.compile(item[key])


def test_every_operator_is_coloured_as_itself(generate: Any, grammar: dict[str, Any]) -> None:
    for text, name in vocabulary().symbols.items():
        assert matching(grammar, "operators", text)[0] == generate._SCOPES[name]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_function_is_coloured(grammar: dict[str, Any], name: str) -> None:
    assert matching(grammar, "functions", f"df.{name}(")[0] == "support.function.step.dsql"


def test_references_are_coloured(grammar: dict[str, Any]) -> None:
    for text in ("$a", "$a?", "$a.b?", "$a.*", "{region}"):
        (found,) = [
            match.group()
            for pattern in grammar["repository"]["references"]["patterns"]
            if (match := re.match(pattern["match"], text))
        ]
        assert found == text


def test_the_extension_refers_to_files_that_exist() -> None:
    package = json.loads((VSCODE / "package.json").read_text())
    contributes = package["contributes"]
    files = [
        package["main"],
        contributes["languages"][0]["configuration"],
        contributes["grammars"][0]["path"],
    ]
    assert all((VSCODE / name).is_file() for name in files)
    json.loads((VSCODE / "language-configuration.json").read_text())


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_extension_is_javascript() -> None:
    subprocess.run(["node", "--check", str(VSCODE / "extension.js")], check=True)
