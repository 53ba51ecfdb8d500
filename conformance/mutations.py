"""Single-character mutations of the cases: what a slip of the finger makes of a text.

In: a case. Out: every text that differs from it in one place below the describing comment: a character left
out, doubled, exchanged with its neighbour, replaced or put in, or the rest of the text lost.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Final

from conformance.cases import Case

CHARACTERS: Final = "'\"()$;:,.-~>|&@?!=\\/*E{[0a_é‘ \n"
"""One of each kind that the scanner tells apart, and what people type by accident."""

EXHAUSTIVE: Final = os.environ.get("DURASQL_CONFORMANCE_MUTATIONS") == "all"


def mutations(case: Case) -> Iterator[str]:
    """All of them, in order."""
    text = case.text
    for at in range(case.body_start, len(text)):
        before, char, after = text[:at], text[at], text[at + 1 :]
        yield before + after
        yield before + char + char + after
        yield before
        if after:
            yield before + after[0] + char + after[1:]
        for other in CHARACTERS:
            yield before + other + after
            yield before + other + char + after


def sample(case: Case, count: int, seed: str) -> list[str]:
    """At most `count` of them, always the same; all when DURASQL_CONFORMANCE_MUTATIONS=all."""
    found = list(dict.fromkeys(mutations(case)))
    if EXHAUSTIVE or len(found) <= count:
        return found
    return random.Random(f"{seed} {case}").sample(found, count)
