"""HTTP steps against a real server: requests, envelopes, failures, limits (P9, S4, S5)."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.policy import HttpLimits


def value(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    document: dict[str, Any] = json.loads(outcome.value)
    return document


def failure(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def response(
    body: bytes, content_type: str | None = "text/plain", status: str = "200 OK", extra: str = ""
) -> bytes:
    typed = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{typed}{extra}\r\n".encode("latin-1") + body


# --- the envelope ---------------------------------------------------------------------------------


async def test_the_envelope_has_its_keys_in_order(site, perform):
    site.answer("/x", response(b"hi", extra="X-Two: 1\r\nX-Two: 2\r\nX-Odd: caf\xe9\r\n"))
    outcome = await perform(site.url("/x"))
    assert list(value(outcome)) == ["status", "body", "encoding", "headers", "ok", "duration_ms"]
    assert value(outcome)["body"] == "hi"
    assert value(outcome)["headers"]["x-two"] == "2"
    assert "x-odd" not in value(outcome)["headers"]
    assert ": " not in outcome.value


@pytest.mark.parametrize(
    ("status", "ok"),
    [("200 OK", True), ("204 No Content", True), ("302 Found", False), ("404 Not Found", False)],
)
async def test_below_500_completes_and_ok_tells(site, perform, status, ok):
    site.answer(
        "/x", response(b"" if status.startswith("204") else b"b", status=status, extra="Location: /y\r\n")
    )
    got = value(await perform(site.url("/x")))
    assert (got["status"], got["ok"], got["headers"]["location"]) == (int(status[:3]), ok, "/y")
    assert len(site.requests) == 1, "redirects are never followed"


async def test_a_server_error_fails_with_a_preview(site, perform):
    site.answer("/x", response(b"\xc3\xa9" * 600, status="503 Unavailable"))
    failed = failure(await perform(site.url("/x")))
    assert failed.http_status == 503
    assert failed.message == (
        f"HTTP GET {site.url('/x')} returned 503: {'é' * 256}... [truncated, 1200 bytes total]"
    )


async def test_a_server_error_with_a_binary_body(site, perform):
    site.answer("/x", response(b"\xff" * 600, "image/png", status="500 Oops"))
    failed = failure(await perform(site.url("/x")))
    assert failed.message.endswith("... [truncated, 800 base64 characters total]")


TEXT_OR_BASE64 = [
    ("text/plain", b"abc", "text", "abc"),
    ("text/plain; charset=utf-16le", "héllo".encode("utf-16le"), "text", "héllo"),
    ("text/html; charset=latin1", b"caf\xe9", "text", "café"),
    ("text/plain; charset=rot13", b"abc", "text", "abc"),
    ("text/plain; charset=unicode_escape", b"\\ud800", "text", "\\ud800"),
    ("text/plain; charset=utf-7", b"+2AA-", "text", "+2AA-"),
    ("text/plain", b"caf\xe9", "text", "caf�"),
    ("text/plain", b"a\x00b", "base64", base64.b64encode(b"a\x00b").decode()),
    ("application/json", b'{"a":1}', "text", '{"a":1}'),
    ("application/problem+json, text/x", b"{}", "text", "{}"),
    ("application/octet-stream", b'{"a":1}', "text", '{"a":1}'),
    ("application/octet-stream", bytes(range(256)), "base64", base64.b64encode(bytes(range(256))).decode()),
    (None, b"plain", "text", "plain"),
    (None, b"\xff\xfe", "base64", "//4="),
    ("image/png", b"", "text", ""),
]


@pytest.mark.parametrize(("content_type", "body", "encoding", "text"), TEXT_OR_BASE64)
async def test_text_or_base64(site, perform, content_type, body, encoding, text):
    site.answer("/x", response(body, content_type))
    got = value(await perform(site.url("/x")))
    assert (got["encoding"], got["body"]) == (encoding, text)
    json.dumps(got).encode()


# --- the request ----------------------------------------------------------------------------------


async def test_a_body_goes_as_given_and_nothing_is_added_to_it(site, perform):
    await perform(site.url("/x?a=b c"), method="PUT", body="héllo", headers={"X-A": " 1 "})
    (seen,) = site.requests
    assert (seen.method, seen.path, seen.body) == ("PUT", "/x?a=b%20c", "héllo".encode())
    assert "content-type" not in seen.headers
    assert seen.headers["x-a"] == "1"
    assert seen.headers["user-agent"].startswith("durasql/")
    assert seen.headers["host"] == f"127.0.0.1:{site.port}"


async def test_credentials_in_the_url_become_an_authorization_header_and_are_not_shown(site, perform):
    site.answer("/x", response(b"", status="500 No"))
    failed = failure(await perform(f"http://us%40er:pa%3Ass@127.0.0.1:{site.port}/x"))
    assert site.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"us@er:pa:ss").decode()
    assert f"http://***@127.0.0.1:{site.port}/x" in failed.message


async def test_the_idempotency_key_is_the_same_on_every_attempt_and_the_users_wins(site, lab):
    performer = lab.performer()
    for node, gen in [(3, "1"), (3, "1"), (3, "2"), (4, "1")]:
        await lab.perform(site.url(), performer=performer, node=node, gen=gen)
    await lab.perform(site.url(), performer=performer, headers={"idempotency-KEY": "mine"})
    keys = [seen.headers["idempotency-key"] for seen in site.requests]
    assert keys[0] == keys[1]
    assert len(set(keys[1:])) == 4
    assert keys[4] == "mine"


async def test_connections_are_reused(site, lab):
    performer = lab.performer()
    for _ in range(5):
        value(await lab.perform(site.url(), performer=performer))
    assert site.connections == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(site, lab):
    async def answer_and_close(_seen, writer):
        writer.write(response(b"first"))
        await writer.drain()

    async def close(_seen, writer):
        if len(site.requests) < 3:
            raise ConnectionError

        writer.write(response(b"again"))

    site.handlers["/first"] = answer_and_close
    site.handlers["/x"] = close
    performer = lab.performer()
    await lab.perform(site.url("/first"), performer=performer)
    assert (
        value(await lab.perform(site.url("/x"), performer=performer, method="POST", body="b"))["body"]
        == "again"
    )
    first, again = site.requests[1:]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]


BAD_HEADERS = [
    ({"X-A": 1}, "the value of header 'X-A' must be a string"),
    ({"X-A": None}, "the value of header 'X-A' must be a string"),
    ({"X-A": ["b"]}, "the value of header 'X-A' must be a string"),
    (["X-A"], "headers must be a JSON object"),
    (
        {"X-A": "b\r\nX-Evil: 1"},
        "the value of header 'X-A' contains a line break or another control character",
    ),
    ({"X-A": "b\nX-Evil: 1"}, "the value of header 'X-A' contains a line break or another control character"),
    ({"X-A": "b\x00"}, "the value of header 'X-A' contains a line break or another control character"),
    ({"X A": "b"}, "header name 'X A' is not valid"),
    ({"X:\r\nA": "b"}, "header name 'X:??A' is not valid"),
    ({"": "b"}, "header name '' is not valid"),
    (
        {"Transfer-Encoding": "chunked"},
        "header 'Transfer-Encoding' cannot be set: it belongs to the connection",
    ),
    ({"content-length": "5"}, "header 'Content-Length' cannot be set to something else than what is sent"),
    ({"Host": "internal"}, "header 'Host' cannot be set to something else than what is sent"),
    ({"Connection": "upgrade"}, "header 'Connection' can only be 'close' or 'keep-alive'"),
    ({"X-A": "\ud800"}, "the value of header 'X-A' is not valid Unicode"),
]


@pytest.mark.parametrize(("headers", "reason"), BAD_HEADERS)
async def test_a_header_that_cannot_be_sent_fails_the_step(site, perform, headers, reason):
    """S5, and the framing headers that pg_durable lets through."""
    failed = failure(await perform(site.url(), headers=headers))
    assert failed.message == f"HTTP request failed: {site.url()} - {reason}"
    assert not site.requests


BAD_CONFIGS = [
    ("[]", "Invalid HTTP config: it must be a JSON object"),
    ("{", "Invalid HTTP config: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ('{"method":"GET"}', "Invalid HTTP config: missing field `url`"),
    ('{"url":"http://x/"}', "Invalid HTTP config: missing field `method`"),
    ('{"url":"http://x/","method":"get"}', "Unsupported HTTP method: get"),
    ('{"url":"http://x/","method":"HEAD"}', "Unsupported HTTP method: HEAD"),
    ('{"url":1,"method":"GET"}', "Invalid HTTP config: `url` must be a string"),
    ('{"url":"http://x/","method":"GET","body":{}}', "Invalid HTTP config: `body` must be a string"),
    (
        '{"url":"http://x/","method":"GET","timeout_seconds":"1"}',
        "Invalid HTTP config: `timeout_seconds` must be an",
    ),
    ('{"url":"http://x/","method":"GET","timeout_seconds":0}', "Timeout must be positive"),
    ("[" * 100_000, "Invalid HTTP config: "),
]


@pytest.mark.parametrize(("config", "message"), BAD_CONFIGS)
async def test_a_config_written_by_hand_is_checked(lab, config, message):
    from dataclasses import replace

    import durasql_runtime.perform.http as http

    broken = http.HttpCall("HTTP", config, "alice", "0123abcd", 1, "", str, str)
    assert failure(await lab.performer().perform(replace(broken))).message.startswith(message)


async def test_without_a_role_nothing_is_sent(lab, site):
    import durasql_runtime.perform.http as http

    config = json.dumps({"url": site.url(), "method": "GET"})
    outcome = await lab.performer().perform(http.HttpCall("HTTP", config, "", "0123abcd", 1, "", str, str))
    assert failure(outcome).message == "Blocked: HTTP node has no submitted_by — cannot verify privilege"
    assert not site.requests


# --- limits and hostile servers -------------------------------------------------------------------

MEGABYTE = 1 << 20


async def test_a_request_body_over_the_limit(site, lab):
    performer = lab.performer(limits=HttpLimits(max_request_bytes=10))
    failed = failure(await lab.perform(site.url(), performer=performer, method="POST", body="x" * 11))
    assert failed.message == (
        "HTTP request body of 11 bytes is larger than 10 bytes (setting http_max_request_bytes)"
    )
    assert not site.requests


async def _endless(writer: asyncio.StreamWriter, head: bytes, chunk: bytes) -> None:
    writer.write(head)
    while True:
        writer.write(chunk)
        await writer.drain()


async def test_an_endless_body_ends_at_the_limit_and_costs_no_more_than_it(site, lab):
    """P9: memory stays bounded, and the connection is closed instead of drained."""

    async def endless(_seen, writer):
        await _endless(writer, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)

    site.handlers["/x"] = endless
    performer = lab.performer(limits=HttpLimits(max_response_bytes=4 * MEGABYTE))
    tracemalloc.start()
    try:
        failed = failure(await lab.perform(site.url("/x"), performer=performer))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed.message == (
        f"Failed to read response body: it is larger than {4 * MEGABYTE} bytes"
        " (setting http_max_response_bytes)"
    )
    assert peak < 12 * MEGABYTE
    await site.gone.wait()


async def test_an_endless_server_error_is_shown_by_its_beginning(site, lab):
    async def endless(_seen, writer):
        await _endless(writer, b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 65536)

    site.handlers["/x"] = endless
    performer = lab.performer(limits=HttpLimits(max_response_bytes=MEGABYTE))
    failed = failure(await lab.perform(site.url("/x"), performer=performer))
    assert failed.message.endswith(f"... [truncated, more than {MEGABYTE} bytes total]")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_bomb_ends_at_the_limit(site, lab, encoding):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = b"".join(squeeze.compress(bytes(MEGABYTE)) for _ in range(256)) + squeeze.flush()
    site.answer("/x", response(bomb, extra=f"Content-Encoding: {encoding}\r\n"))
    performer = lab.performer(limits=HttpLimits(max_response_bytes=2 * MEGABYTE))
    tracemalloc.start()
    try:
        failed = failure(await lab.perform(site.url("/x"), performer=performer))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "larger than" in failed.message
    assert peak < 12 * MEGABYTE


async def test_compressed_bodies_are_decompressed_and_their_headers_dropped(site, perform):
    site.answer(
        "/gzip", response(gzip.compress(b"one") + gzip.compress(b"two"), extra="Content-Encoding: gzip\r\n")
    )
    got = value(await perform(site.url("/gzip")))
    assert got["body"] == "onetwo"
    assert not {"content-encoding", "content-length"} & set(got["headers"])
    raw = zlib.compressobj(wbits=-15)
    site.answer("/raw", response(raw.compress(b"raw") + raw.flush(), extra="Content-Encoding: deflate\r\n"))
    assert value(await perform(site.url("/raw")))["body"] == "raw"


@pytest.mark.parametrize("body", [b"not gzip at all", gzip.compress(b"x" * 10000)[:-12]])
async def test_broken_compression_fails(site, perform, body):
    site.answer("/x", response(body, extra="Content-Encoding: gzip\r\n"))
    assert failure(await perform(site.url("/x"))).message == "Failed to read response body: invalid gzip data"


async def test_an_unknown_encoding_is_left_to_the_reader(site, perform):
    site.answer("/x", response(b"\x8b\xff", "application/json", extra="Content-Encoding: br\r\n"))
    got = value(await perform(site.url("/x")))
    assert got["headers"]["content-encoding"] == "br"


async def test_a_server_that_never_answers_ends_in_a_timeout_while_others_go_on(site, lab):
    never = asyncio.Event()

    async def silent(_seen, _writer):
        await never.wait()

    site.handlers["/silent"] = silent
    performer = lab.performer()
    slow = asyncio.ensure_future(lab.perform(site.url("/silent"), performer=performer, timeout_seconds=1))
    await site.arrived.wait()
    assert value(await lab.perform(site.url("/"), performer=performer))["ok"]
    assert failure(await slow).message == f"HTTP timeout after 1s: {site.url('/silent')}"
    never.set()


async def test_a_body_that_drips_ends_with_the_clock_of_the_whole_exchange(site, lab):
    stop = asyncio.Event()

    async def drip(_seen, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await writer.drain()
        await stop.wait()

    site.handlers["/x"] = drip
    performer = lab.performer(limits=HttpLimits(max_timeout=1))
    failed = failure(await lab.perform(site.url("/x"), performer=performer, timeout_seconds=3600))
    stop.set()
    assert failed.message == (f"Failed to read response body: it was not complete after 1s: {site.url('/x')}")
    assert failed.hint == "The setting http_max_timeout ends requests after 1 s."


async def test_a_server_that_closes_early(site, perform):
    async def close_at_once(_seen, writer):
        writer.close()

    async def close_in_body(_seen, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    site.handlers["/once"] = close_at_once
    site.handlers["/half"] = close_in_body
    assert failure(await perform(site.url("/once"))).message == (
        f"HTTP request failed: {site.url('/once')} - Server disconnected without sending a response."
    )
    assert failure(await perform(site.url("/half"))).message.startswith(
        "Failed to read response body: peer closed"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["no-http", "huge-header", "two-lengths", "upgrade"],
)
async def test_nonsense_from_the_server_fails_the_step(site, perform, raw):
    site.answer("/x", raw)
    assert failure(await perform(site.url("/x"), timeout_seconds=5)).message.startswith(
        f"HTTP request failed: {site.url('/x')} - "
    )


async def test_a_refused_connection_does_not_show_the_address(perform):
    failed = failure(await perform("http://127.0.0.1:1/x"))
    assert failed.message == "HTTP connection failed: http://127.0.0.1:1/x - Connection refused"


async def test_cookies_of_one_request_are_not_sent_with_the_next(site, lab):
    site.answer("/x", response(b"", extra="Set-Cookie: a=b\r\n"))
    performer = lab.performer()
    for _ in range(2):
        await lab.perform(site.url("/x"), performer=performer)
    assert all("cookie" not in seen.headers for seen in site.requests)
