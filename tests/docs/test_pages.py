"""What the pages show is what happens: every block that can run is run on a real server.

`DURASQL_DOCS_WRITE=1 pytest tests/docs` writes what was printed into the pages instead of comparing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.docs.blocks import ROOT, Block, blocks, pages
from tests.docs.output import matches, normal
from tests.docs.stage import Stage, Surprise

# These have tests of their own: tests/integration/cli/test_readme.py and test_generated.py.
ELSEWHERE = {
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("sql", "cli", "bytecode", "errors")),
}
WRITE = bool(os.environ.get("DURASQL_DOCS_WRITE"))


def runnable(path: Path) -> list[Block]:
    """The blocks of a page that are run."""
    return [block for block in blocks(path) if "skip" not in block.marks]


PAGES = [path for path in pages() if path not in ELSEWHERE and runnable(path)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_page_tells_the_truth(path: Path, stage: Stage) -> None:
    surprises = []
    printed: list[tuple[Block, str]] = []
    for block in runnable(path):
        try:
            real = stage.run(block)
        except Surprise as error:
            surprises.append(f"{block.place}: {error}")
            continue
        promise = block if block.language == "console" else block.output
        if promise is not None and not matches(promise.text, real):
            printed.append((promise, real))
            surprises.append(
                f"{promise.place}: promised\n{normal(promise.text)}\n--- printed\n{normal(real)}"
            )
    if WRITE:
        # What is written with a `…` was chosen by hand.
        exact = [(promise, real) for promise, real in printed if "…" not in promise.text]
        write(path, exact)
        places = tuple(f"{promise.place}: promised" for promise, _ in exact)
        surprises = [text for text in surprises if not text.startswith(places)]
    assert not surprises, "\n\n".join(surprises)


def write(path: Path, printed: list[tuple[Block, str]]) -> None:
    """Put what was printed where the promises stood."""
    text = path.read_text(encoding="utf-8")
    for promise, real in sorted(printed, key=lambda pair: pair[0].span, reverse=True):
        start, end = promise.span
        lines = "".join(f"{line.rstrip()}\n" for line in real.strip("\n").splitlines())
        text = text[:start] + lines + text[end:]
    path.write_text(text, encoding="utf-8")


def test_what_is_not_run_says_why() -> None:
    silent = [block.place for path in pages() for block in blocks(path) if block.marks.get("skip") == ""]
    assert not silent
