"""Substitution: `{variables}`, then `$names`, into the text of a step that is about to run.

Comes in: a template and a `Scope`. Goes out: the text to execute, or a `SubstituteError` with the
reference's words. The brace pass pastes raw text, everywhere, by design. The dollar pass runs over its
result and never over what it inserted itself. In SQL it knows where a reference stands (`sqltext`): as code
the value becomes an expression, in a literal it becomes text that cannot end the literal, in comments and
quoted names nothing happens. Nothing here depends on which names exist until a text is rendered, so
templates are compiled once and remembered.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring

from durasql_runtime import jsontext
from durasql_runtime.references import REFERENCE, joined, render
from durasql_runtime.scope import Scope, SubstituteError
from durasql_runtime.templates import json_template, raw_template, sql_template

__all__ = [
    "Scope",
    "SubstituteError",
    "substitute_break",
    "substitute_raw",
    "substitute_sql",
    "whole_value",
]


def substitute_sql(template: str, scope: Scope) -> str:
    """The statement to run: values quoted, so that no value can change what the statement does."""
    text = _braces(template, scope)
    if scope.names and "$" in text:
        text = render(sql_template(text), scope)
    _check_storable(text)
    return text


def substitute_raw(template: str, scope: Scope) -> str:
    """Text for a URL, a body, a header value, a part's name: values unquoted."""
    text = _braces(template, scope)
    if not scope.names or "$" not in text:
        return text
    return render(raw_template(text), scope)


def substitute_break(value: str | None, scope: Scope) -> str:
    """The JSON text of a break's value (L3).

    One whole reference keeps its JSON type; a JSON document keeps its shape whatever text is inserted into
    its strings; other text that is JSON is that JSON; the rest is a JSON string.
    """
    if value is None:
        return "null"
    text = _braces(value, scope)
    if not scope.names or "$" not in text:
        return jsontext.parsed(text) or encode_basestring(text)
    if REFERENCE.fullmatch(text) or text.lstrip()[:1] in ("{", "["):
        document = jsontext.parsed(render(json_template(text), scope))
        if document is not None:
            return document
    text = render(raw_template(text), scope)
    return jsontext.parsed(text) or encode_basestring(text)


def whole_value(template: str, scope: Scope) -> str:
    """Text for `data_b64`: one reference and nothing else, or text without `$` and `{`."""
    text = template.strip()
    brace = _BRACE.fullmatch(text)
    if brace:
        value = scope.variable(brace[1])
        return text if value is None else value
    reference = REFERENCE.fullmatch(text)
    if reference and not text.endswith("*"):
        return render(raw_template(text), scope)
    if "$" in text or "{" in text:
        raise SubstituteError(
            f"'{text[:80]}' mixes a variable reference with other text. "
            "Only a whole-value reference is supported"
        )
    return template


_BRACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _braces(template: str, scope: Scope) -> str:
    """The first pass. An unknown `{` stands for itself and scanning goes on right after it (L4)."""
    if "{" not in template:
        return template
    parts = _BRACE.split(template)  # text, name, text, name, …, text
    for place in range(1, len(parts), 2):
        value = scope.variable(parts[place])
        parts[place] = f"{{{parts[place]}}}" if value is None else value
    return joined(parts)


def _check_storable(text: str) -> None:
    """Refuse what libpq would cut off or could not encode, instead of running half a statement."""
    if "\0" in text:
        raise SubstituteError("the statement contains a NUL character, which PostgreSQL text cannot hold")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SubstituteError(
                "the statement contains half of a surrogate pair, which is no character"
            ) from None
