"""Every limit of durasql, with its reason. Nothing else in the code holds a bare bound.

Limits that an operator may change are rows of `df.settings`; the value here is the default and the
settings table wins at run time. Limits of the language are fixed for both fronts, because the same text
must be accepted or refused alike everywhere.
"""

from __future__ import annotations

from typing import Final

MAX_DEPTH: Final = 256
"""Levels below the root of a graph. Guards every recursive walk, in Python and in SQL alike."""

MAX_NODES: Final = 10_000
"""Nodes of one graph. A larger workflow should be several instances."""

MAX_SOURCE_BYTES: Final = 4 * 1024 * 1024
"""Size of one workflow text. A parser should never be fed a database dump by mistake."""

MAX_TOKENS: Final = 250_000
"""Words and operators of one text. Bounds the time a parser spends on a text that is no workflow."""

MAX_ARGUMENTS: Final = 100
"""Arguments of one function call; PostgreSQL allows no more."""

MAX_ROW_SET: Final = 10_000
"""Rows that `$name.*` may paste into a statement."""

MAX_SUBSTITUTED: Final = 64 * 1024 * 1024
"""Characters of a statement or request after substitution; a result can be referred to many times."""

MAX_RESULT_BYTES: Final = 16 * 1024 * 1024
"""Size of one step's result as JSON; setting `max_result_bytes`."""

MAX_HTTP_BYTES: Final = 16 * 1024 * 1024
"""Size of one HTTP request or response body; settings `http_max_request_bytes`, `http_max_response_bytes`."""

MAX_HTTP_TIMEOUT: Final = 3600
"""Seconds one HTTP exchange may take at most; setting `http_max_timeout`."""

MAX_ATTEMPTS: Final = 1_000
"""Attempts of one df.retry. Who needs more wants a loop with a wait, which shows what it waits for."""

MAX_DURATION: Final = 3_650 * 86_400
"""Seconds a timeout or a pause between attempts may last: ten years, so that a mistyped unit is noticed."""

MAX_FAILURE_WORDS: Final = 100
"""Names in the `errors` of one df.retry or df.catch. A list as long as this is meant to be `any`."""

MAX_KEY_BYTES: Final = 1_024
"""Bytes of the key of a start, which an index holds."""
