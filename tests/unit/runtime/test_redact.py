"""Secrets are found in whatever encoding a server or a library puts them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime.outcome import Failed
from durasql_runtime.perform.http.placeholders import Placeholders
from durasql_runtime.perform.http.redact import Redactor

ENCODERS = {
    "plain": lambda text: text,
    "path": lambda text: quote(text),
    "everything": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "lower-case hex": lambda text: quote(text, safe="").lower() if text.islower() else quote(text),
    "json": json.dumps,
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "json, not escaped": lambda text: json.dumps(text, ensure_ascii=False),
    "html": html.escape,
    "misread": lambda text: text.encode().decode("latin-1"),
    "misread and escaped": lambda text: json.dumps(text.encode().decode("latin-1")),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for urls": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "host": str.lower,
}

SECRETS = [
    "sk-très-s3cr&t/value==",
    "Plain0123456789",
    "quo\"te's\\and/slashes",
    "with space+plus",
    "zeilen\nbruch €",
    "🔑🔑🔑🔑key",
]


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("value", SECRETS)
def test_an_encoded_secret_is_found(encoding, value):
    shown = Redactor({"api": value}).text(f"before {ENCODERS[encoding](value)} after")
    for word in ("s3cr", "0123", "slashes", "plus", "bruch", "key", value):
        assert word not in shown.replace("{secret:api}", "")
    assert shown.startswith("before ") and shown.endswith(" after")


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
def test_a_secret_inside_of_something_in_base64_is_found(before):
    value = "s3cret-value-0123"
    encoded = base64.b64encode(f"{before}{value}:x".encode()).decode()
    shown = Redactor({"api": value}).text(f"Basic {encoded}")
    assert base64.b64encode(value.encode()).decode()[4:16] not in shown
    assert "{secret:api}" in shown


@given(st.text(min_size=4, max_size=40))
def test_what_httpx_makes_of_a_secret_in_a_url_is_found(value):
    try:
        url = str(httpx.URL(f"http://x.example/?k={value}"))
    except (httpx.InvalidURL, UnicodeEncodeError):
        return
    assert value not in Redactor({"api": value}).text(url).replace("{secret:api}", "")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_bytes_around_a_secret_are_left_alone(before, after):
    value = "très-s3cret-value"
    assert Redactor({"api": value}).data(before + value.encode() + after) == before + b"{secret:api}" + after


@given(st.text(max_size=200))
def test_without_secrets_nothing_changes(text):
    redactor = Redactor({})
    assert redactor.text(text) == text
    assert redactor.data(text.encode("utf-8", "replace")) == text.encode("utf-8", "replace")


def test_failures_can_be_stored():
    failed = Redactor({}).failed(Failed("nul \x00, half \ud800"))
    assert failed.message == "nul \\x00, half ?"


def test_only_placeholders_of_the_template_are_revealed():
    """A value that looks like a placeholder, or like a token of another process, is text."""
    placeholders = Placeholders()
    hidden = placeholders.hide("a {secret:one} b {secret:two}")
    assert "{secret:" not in hidden
    assert placeholders.names == {"one", "two"}
    resolved = hidden + " {secret:one} \ue0000123:one\ue001"
    revealed = placeholders.reveal(resolved, {"one": "{secret:two}", "two": "2"})
    assert revealed == "a {secret:two} b 2 {secret:one} \ue0000123:one\ue001"
    assert placeholders.show(hidden) == "a {secret:one} b {secret:two}"
