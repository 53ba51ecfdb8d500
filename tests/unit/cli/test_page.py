"""docs/cli.md is what the commands say."""

from __future__ import annotations

from pathlib import Path

from durasql.cli.page import page


def test_the_page_is_up_to_date() -> None:
    shown = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert shown == page(), "python -m durasql.cli.page > docs/cli.md"
