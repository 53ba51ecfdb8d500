"""SQL texts as a server could plan them: `{vars}` pasted, `$names` replaced by expressions that fit.

In: the text of a step, the variables that are known and what to write for a reference. Out: `Filled`: the
text, with a map from its offsets to those of the step's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from durasql.check.sqltext import Reference, Where, references, variables
from durasql.source import Span
from durasql.syntax.textmap import TextMap


@dataclass(frozen=True, slots=True)
class Filled:
    """A text to plan. `map` leads from it to the step's text; `guessed` when values had to be made up."""

    text: str
    map: TextMap
    guessed: bool


def filled(query: str, known: Mapping[str, str], write: Callable[[Reference], str]) -> Filled | None:
    """The text to plan; None when it has a variable whose value is not known."""
    found = variables(query)
    if any(variable.name not in known for variable in found):
        return None
    pasted = _replaced(query, ((item.start, item.end, known[item.name]) for item in found))
    inserted = [item for item in references(pasted.text) if not item.name.isdigit()]
    coded = [item for item in inserted if item.where is Where.CODE]
    done = _replaced(pasted.text, ((item.start, item.end, write(item)) for item in coded))
    return Filled(done.text, done.map.through(pasted.map), bool(inserted))


def _replaced(text: str, changes: Iterable[tuple[int, int, str]]) -> Filled:
    """The text with the changes made; they come in order and do not overlap."""
    parts: list[str] = []
    starts, targets = [0], [0]
    length = at = 0
    for start, end, new in changes:
        parts += [text[at:start], new]
        starts += [length + start - at, length + start - at + len(new)]
        targets += [start, end]
        length += start - at + len(new)
        at = end
    parts.append(text[at:])
    length += len(text) - at
    return Filled("".join(parts), TextMap(Span(0, len(text)), tuple(starts), tuple(targets), length), False)
