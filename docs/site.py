"""What the site needs and GitHub does not. In: configuration and pages of docs/. Out: the same, for mkdocs.

Links to files of the repository outside docs/ become plain code, since the site has no such pages. Blocks of
```dsql, which no highlighter knows, are shown as SQL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s]*)\)")
_FENCE = re.compile(r"^( *```)(?:dsql)$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Called by mkdocs once: pages that are not written yet are not in the navigation."""
    docs = Path(config["docs_dir"])
    config["nav"] = _present(config["nav"], docs)
    return config


def _present(entries: list[Any], docs: Path) -> list[Any]:
    kept = []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            kept.append({title: _present(target, docs)})
        elif (docs / target).exists():
            kept.append(entry)
    return kept


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page."""
    depth = page.file.src_uri.count("/")
    return _FENCE.sub(r"\1sql", _OUTSIDE.sub(lambda link: _plain(link, depth), markdown))


def _plain(link: re.Match[str], depth: int) -> str:
    text, target = link.groups()
    if target.count("../") <= depth:
        return link.group()
    return text if text.startswith("`") else f"{text} (`{target.replace('../', '')}`)"
