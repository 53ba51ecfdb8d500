"""What a block printed against what the page promises. In: two texts. Out: whether they tell the same.

What differs from run to run is put into one form on both sides: ids (the first is id1, the next id2, …),
UUIDs, times, durations, and the widths of columns that follow from them.
"""

from __future__ import annotations

import re

_VOLATILE = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    (
        re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?"),
        "<time>",
    ),
    (re.compile(r"\b\d+(?:\.\d+)? ?m?s\b"), "<duration>"),
    (re.compile(r"-{3,}"), "---"),
)
_ID = re.compile(r"\b(?=[0-9a-f]{0,7}[0-9])[0-9a-f]{8}\b")


def normal(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    seen: dict[str, str] = {}
    text = _ID.sub(lambda match: seen.setdefault(match.group(), f"<id{len(seen) + 1}>"), text)
    lines = [re.sub(r"(?<=\S)\s+", " ", line).rstrip() for line in text.strip("\n").splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def matches(promised: str, real: str) -> bool:
    """Whether the promise is kept; `…` in it stands for anything, a line of its own for any lines."""
    pattern = re.escape(normal(promised))
    pattern = re.sub(r"(?m)^…(?:\\\n|$)", lambda _: r"(?:.*\n)*?(?:.*\Z)?", pattern)
    return re.fullmatch(pattern.replace("…", ".*?"), normal(real)) is not None
