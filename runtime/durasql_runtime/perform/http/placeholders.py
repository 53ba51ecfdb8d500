"""Secrets while a request is built. In: templates with `{secret:name}`. Out: texts with values, or without.

A placeholder counts only where the author of the workflow wrote it. So it is swapped for an unguessable token
before `$names` and `{vars}` are resolved, and the token for the value after that: a row or a response that
contains the text `{secret:api_key}` is data and stays so.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{secret:([A-Za-z_][A-Za-z0-9_.-]*)\}")


# One number per process: tokens never leave it, and compiled templates with tokens in them can be remembered.
_NONCE = secrets.token_hex(16)


class Placeholders:
    """The secrets of one request. Tokens are private-use characters around a random number."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """Names of all secrets met by `hide`."""
        return frozenset(self._tokens)

    def hide(self, template: str) -> str:
        """The template with tokens instead of placeholders."""
        if "{secret:" not in template:
            return template
        return _PLACEHOLDER.sub(lambda found: self._token(found[1]), template)

    def reveal(self, text: str, values: Mapping[str, str]) -> str:
        """The text with values instead of tokens."""
        for name, token in self._tokens.items():
            text = text.replace(token, values[name])
        return text

    def show(self, text: str) -> str:
        """The text with placeholders again, for messages."""
        return self.reveal(text, {name: f"{{secret:{name}}}" for name in self._tokens})

    def _token(self, name: str) -> str:
        return self._tokens.setdefault(name, f"\ue000{_NONCE}:{name}\ue001")
