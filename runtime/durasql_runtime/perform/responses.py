"""HTTP responses below 500 that a policy takes for failures: they are values by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.retry_after import seconds_until

_STATUS: Final = re.compile(r'\{"status":(\d{3}),')
_PREVIEW: Final = 512
"""Characters of the body that the message shows."""


def refused_response(done: Done, is_refused: Callable[[int], bool]) -> Failed | None:
    """The failure that a response is where `is_refused` says so of its status."""
    found = _STATUS.match(done.value)
    if not found or not is_refused(status := int(found[1])):
        return None
    document = json.loads(done.value)
    headers = document["headers"]
    body = str(document["body"])
    shown = body if len(body) <= _PREVIEW else f"{body[:_PREVIEW]}…"
    wait = seconds_until(headers.get("retry-after"), headers.get("date"))
    return Failed(f"HTTP request returned {status}: {shown}", http_status=status, retry_after=wait)
