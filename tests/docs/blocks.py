"""Pages of docs/ as what can be run. In: Markdown. Out: `Block`s, in order, each with the output it promises.

    ```sql …```            psql, as role app             ```dsql …```     a workflow, run to its end
    ```console …```        `$ command` and its output    ```sh …```       a script
    ```python …```         a program

A ```text or ```json block right behind a block that runs is its output. There a `…` stands for anything, a
line `…` for any lines; ids, times, UUIDs and durations match any other. A comment before a block says how it
is to be run:

    <!-- test: as=owner -->        as the owner of schema df (or superuser, reports)
    <!-- test: fails -->           it reports an error
    <!-- test: file=name -->       it is only written to a file, for the blocks that follow
    <!-- test: check -->           a workflow that is only checked; its output is that of `durasql check`
    <!-- test: warns -->           `durasql check` has something to say about it, and it runs nevertheless
    <!-- test: serves -->          a command that runs on; it is ended as soon as it says `ready`
    <!-- test: skip=reason -->     it is not run

and `<!-- setup` … `-->` is SQL that the superuser runs first and no reader sees. Where a page writes
7f3a09c1, the id of the latest instance is meant; `service.internal:8080` is an HTTP server that tells what it
was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNABLE = frozenset({"sql", "dsql", "console", "sh", "python"})
OUTPUT = frozenset({"text", "json"})

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- test: (.*?) -->\s*\Z")
_SETUP = re.compile(r"^<!-- setup\n(.*?)^-->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `span` is where its text stands in the page, `output` what is to be printed."""

    path: Path
    line: int
    language: str
    text: str
    span: tuple[int, int]
    marks: dict[str, str] = field(default_factory=dict)
    output: Block | None = None

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The pages whose blocks are run: docs/ and the README."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """The blocks of a page that can be run, set-up included, in order."""
    text = path.read_text(encoding="utf-8")
    fenced = list(_fenced(path, text))
    found = [_setup(path, text, match) for match in _SETUP.finditer(text)]
    for index, block in enumerate(fenced):
        if block.language not in RUNNABLE:
            continue
        following = fenced[index + 1] if index + 1 < len(fenced) else None
        if following is not None and _is_output(text, block, following):
            block = Block(**{**vars(block), "output": following})
        found.append(block)
    return sorted(found, key=lambda block: block.span)


def _fenced(path: Path, text: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        indent, language, body = match.groups()
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        mark = _MARK.search(text[: match.start()].rstrip(" "))
        marks = dict(_pair(word) for word in mark.group(1).split(", ")) if mark else {}
        yield Block(path, _line(text, match.start()), language, body, match.span(3), marks)


def _setup(path: Path, text: str, match: re.Match[str]) -> Block:
    return Block(path, _line(text, match.start()), "sql", match.group(1), match.span(1), {"as": "superuser"})


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _is_output(text: str, block: Block, following: Block) -> bool:
    between = text[block.span[1] : following.span[0]]
    return following.language in OUTPUT and re.fullmatch(r" *```\s*```\w+\n", between) is not None
