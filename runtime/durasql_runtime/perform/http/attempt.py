"""Draft to request. In: a Draft, the values of its secrets, the limits. Out: a Request, checked and complete.

An attempt also holds what must not be seen of a call, so that whatever ends the step can be shown without it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from durasql_runtime.perform.http import headers as header
from durasql_runtime.perform.http.call import Blocked, HttpCall, StepFailed
from durasql_runtime.perform.http.config import Draft
from durasql_runtime.perform.http.exchange import Request
from durasql_runtime.perform.http.multipart import decode, encode
from durasql_runtime.perform.http.placeholders import Placeholders
from durasql_runtime.perform.http.redact import Redactor
from durasql_runtime.perform.http.target import Place, parse_place, show
from durasql_runtime.policy import HttpLimits


@dataclass(slots=True)
class Attempt:
    """One call on its way, and what must not be seen of it."""

    call: HttpCall
    placeholders: Placeholders = field(default_factory=Placeholders)
    values: Mapping[str, str] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=lambda: Redactor({}))

    def learn(self, values: Mapping[str, str]) -> None:
        """Take the values of the secrets."""
        self.values = values
        self.redactor = Redactor(values)

    def request(self, drafted: Draft, installation: str, limits: HttpLimits) -> Request:
        """The draft with its secrets, checked against the limits, ready to be sent."""
        place, shown = self._place(drafted.url)
        key = header.idempotency_key(self.call, installation)
        try:
            content, content_type = self._content(drafted, key)
            _check_size(content, limits)
            pairs = header.complete(
                self._headers(drafted, content_type),
                _host(place),
                _length(drafted, content),
                _defaults(place, key),
            )
        except header.HeaderError as error:
            raise StepFailed(f"HTTP request failed: {shown} - {error}") from error
        timeout = min(drafted.timeout, limits.max_timeout)
        hint = (
            None
            if timeout == drafted.timeout
            else f"The setting http_max_timeout ends requests after {timeout} s."
        )
        return Request(drafted.method, place, shown, pairs, content, timeout, hint)

    def _place(self, template: str) -> tuple[Place, str]:
        """The parsed URL, and how it is shown. Parsers quote pieces, and a piece of a secret is secret."""
        shown = self.placeholders.show(template)
        with_secrets = shown != template
        try:
            place = parse_place(self._full(template))
        except StepFailed as error:
            if not with_secrets:
                raise
            raise _unusable(error, show(shown)) from None
        if with_secrets:
            if place.target.host not in shown.lower():
                self.redactor.hide_in_failures(place.target.host)
            if place.url.userinfo:
                self.redactor.hide(_basic(place))
        return place, show(shown)

    def _full(self, text: str) -> str:
        return self.placeholders.reveal(text, self.values)

    def _headers(self, drafted: Draft, content_type: str | None) -> dict[str, str]:
        given = {name: header.check(name, self._full(value)) for name, value in drafted.headers.items()}
        if content_type is None:
            return given
        # The boundary is known to nobody else, so the user's Content-Type could only be wrong.
        kept = {name: value for name, value in given.items() if name.lower() != "content-type"}
        return {**kept, "Content-Type": content_type}

    def _content(self, drafted: Draft, key: str) -> tuple[bytes | None, str | None]:
        if drafted.parts is not None:
            return encode(tuple(decode(part, self._full(part.data_b64)) for part in drafted.parts), key)
        if drafted.body is None:
            return None, None
        try:
            return self._full(drafted.body).encode("utf-8"), None
        except UnicodeEncodeError as error:
            raise StepFailed("HTTP request failed: the body is not valid Unicode") from error


def _check_size(content: bytes | None, limits: HttpLimits) -> None:
    if content is not None and len(content) > limits.max_request_bytes:
        raise StepFailed(
            f"HTTP request body of {len(content)} bytes is larger than {limits.max_request_bytes} bytes"
            " (setting http_max_request_bytes)"
        )


def _length(drafted: Draft, content: bytes | None) -> int | None:
    if content is not None:
        return len(content)
    return None if drafted.method in ("GET", "DELETE") else 0


def _host(place: Place) -> str:
    return place.url.netloc.decode("ascii")


def _defaults(place: Place, key: str) -> dict[str, str]:
    """Headers that are sent unless the workflow gives its own."""
    defaults = {
        "User-Agent": header.USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
        "Idempotency-Key": key,
    }
    if place.url.userinfo:
        defaults["Authorization"] = f"Basic {_basic(place)}"
    return defaults


def _basic(place: Place) -> str:
    """Credentials of the URL as HTTP sends them."""
    user, _, password = place.url.userinfo.decode("ascii").partition(":")
    return base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def _unusable(error: StepFailed, shown: str) -> StepFailed:
    hint = "Secrets are not shown, so neither is what is wrong with the whole; check their values."
    if isinstance(error, Blocked):
        return Blocked(f"Blocked: the URL {shown} is not valid with its secrets filled in.", hint=hint)
    return StepFailed(f"HTTP request failed: {shown} - it is not valid with its secrets filled in", hint=hint)
