"""No link of the repository's pages is dead: files, folders and headings that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.blocks import ROOT

SOURCES = [
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", "node_modules", "site"} & set(path.relative_to(ROOT).parts)
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_TEST = re.compile(r"\[`(test_\w+)`\]\(([^)\s]+\.py)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def headings(path: Path) -> set[str]:
    """The anchors of a page, as Python-Markdown makes them."""
    found = re.findall(r"^#{1,6} (.*)$", prose(path), re.MULTILINE)
    explicit = re.findall(r'<a id="([^"]+)"', path.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", text)).strip().lower() for text in found]
    return {re.sub(r"[-\s]+", "-", text) for text in plain} | set(explicit)


@pytest.mark.parametrize("path", sorted(SOURCES), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for link in _LINK.findall(_CODE.sub("", prose(path)) if "`](" not in prose(path) else prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            dead.append(link)
    assert not dead


def test_promises_name_tests_that_exist() -> None:
    """Every row of compatibility.md has a test, and the test is there."""
    page = ROOT / "docs" / "compatibility.md"
    text = page.read_text(encoding="utf-8")
    missing = [
        name
        for name, file in _TEST.findall(text)
        if f"def {name}(" not in (page.parent / file).read_text(encoding="utf-8")
    ]
    assert not missing
    rows = re.findall(r"^\| ([LES]\d+) \|.*$", text, re.MULTILINE)
    assert rows == [f"L{n}" for n in range(1, 17)] + [f"E{n}" for n in range(1, 17)] + [
        f"S{n}" for n in range(1, 9)
    ]
    assert all(_TEST.search(row) for row in re.findall(r"^\| [LES]\d+ \|.*$", text, re.MULTILINE))


def test_every_page_is_listed() -> None:
    """In the site's navigation; decisions in their index."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert not {name for name in pages if f" {name}\n" not in navigation}
    decisions = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert not {name for name in decisions if f"({name})" not in index}
