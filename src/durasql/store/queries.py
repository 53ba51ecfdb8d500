"""Named queries. In: a .sql file beside the module that uses it. Out: its statements by name.

    -- name: status
    SELECT df.status(%(id)s)

A statement's text ends where the next name begins. Files are read once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def named(file: str) -> Mapping[str, bytes]:
    """The statements of `store/<file>.sql` by name, as psycopg takes them."""
    text = resources.files("durasql").joinpath("store", f"{file}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}
