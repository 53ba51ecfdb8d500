"""Two touches for the site that GitHub does not need. In: a page's Markdown. Out: the same, for mkdocs.

Links to files of the repository outside docs/ become plain code, since the site has no such pages. Blocks of
```dsql, which no highlighter knows, are shown as SQL.
"""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s]*)\)")
_FENCE = re.compile(r"^( *```)(?:dsql)$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page."""
    depth = page.file.src_uri.count("/")
    return _FENCE.sub(r"\1sql", _OUTSIDE.sub(lambda link: _plain(link, depth), markdown))


def _plain(link: re.Match[str], depth: int) -> str:
    text, target = link.groups()
    if target.count("../") <= depth:
        return link.group()
    return text if text.startswith("`") else f"{text} (`{target.replace('../', '')}`)"
