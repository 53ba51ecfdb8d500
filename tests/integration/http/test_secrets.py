"""{secret:name}: resolved when sending, in nothing that is kept."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.http import HttpCall, HttpLimits
from durasql_runtime.policy import Rules

TOKEN = "s3cr&t/Value+ü=="
SECRETS = {"api": TOKEN}


async def test_a_secret_is_sent_in_url_headers_and_body(site, lab):
    outcome = await lab.perform(
        site.url("/x?k={secret:api}"),
        performer=lab.performer(secrets=SECRETS),
        method="POST",
        body='{"key":"{secret:api}"}',
        headers={"Authorization": "Bearer {secret:api}"},
    )
    assert isinstance(outcome, Done)
    (seen,) = site.requests
    assert seen.json() == {"key": TOKEN}
    assert seen.headers["authorization"].encode("latin-1").decode() == f"Bearer {TOKEN}"
    assert "s3cr&t/Value+%C3%BC==" in seen.path


async def test_a_secret_is_a_part_of_a_multipart_body(site, lab):
    site.answer("/x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    outcome = await lab.perform(
        site.url("/x"),
        performer=lab.performer(secrets={"blob": base64.b64encode(b"the payload").decode()}),
        node_type="HTTP_MULTIPART",
        method="POST",
        parts=[{"name": "a", "data_b64": " {secret:blob} "}],
    )
    assert isinstance(outcome, Done)
    assert b"the payload" in site.requests[0].body


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "application/octet-stream", "text/x; charset=utf-16"]
)
async def test_a_server_that_echoes_the_secret_does_not_get_it_into_the_result(site, lab, content_type):
    shapes = [TOKEN, json.dumps(TOKEN), base64.b64encode(TOKEN.encode()).decode()]
    body = "\n".join(shapes).encode("utf-16" if "utf-16" in content_type else "utf-8")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nX-Echo: s3cr%26t%2FValue%2B%C3%BC%3D%3D\r\n"
    site.answer("/x", head.encode() + f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    outcome = await lab.perform(
        site.url("/x"), performer=lab.performer(secrets=SECRETS), headers={"A": "{secret:api}"}
    )
    assert isinstance(outcome, Done)
    got = json.loads(outcome.value)
    assert "s3cr" not in outcome.value
    assert got["body"].count("{secret:api}") == 3
    assert got["headers"]["x-echo"] == "{secret:api}"
    assert base64.b64encode(TOKEN.encode()).decode() not in outcome.value


async def test_a_binary_echo_is_redacted_too(site, lab):
    body = b"\xff" + TOKEN.encode() + b"\xff"
    site.answer("/x", f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    outcome = await lab.perform(
        site.url("/x"), performer=lab.performer(secrets=SECRETS), headers={"A": "{secret:api}"}
    )
    assert isinstance(outcome, Done)
    assert base64.b64decode(json.loads(outcome.value)["body"]) == b"\xff{secret:api}\xff"


FAILURES = [
    {"url": "http://127.0.0.1:1/{secret:api}"},
    {"url": "http://{secret:api}.example/"},
    {"url": "{secret:api}://x.example/"},
    {"url": "http://x.example:{secret:api}/"},
    {"url": "http://{secret:api}@127.0.0.1:1/"},
    {"url": "http://10.0.0.1/{secret:api}"},
    {"url": "SITE/500?{secret:api}"},
    {"url": "SITE/500", "headers": {"A": "{secret:multi}"}},
    {"url": "SITE/500", "body": "{secret:api}"},
]


@pytest.mark.parametrize("config", FAILURES, ids=str)
async def test_no_failure_shows_a_secret(site, lab, config, caplog):
    caplog.set_level(logging.DEBUG)
    echo = (TOKEN * 60).encode()
    site.answer(
        "/500?s3cr&t/Value+%C3%BC==", f"HTTP/1.1 500 X\r\nContent-Length: {len(echo)}\r\n\r\n".encode() + echo
    )
    site.answer("/500", f"HTTP/1.1 500 X\r\nContent-Length: {len(echo)}\r\n\r\n".encode() + echo)

    async def unknown(host, port):
        raise OSError(-2, f"no such name {host}")

    fields = {**config, "url": config["url"].replace("SITE", site.url().rstrip("/"))}
    performer = lab.performer(secrets={**SECRETS, "multi": "line one\ns3cr&t two"}, resolver=unknown)
    outcome = await lab.perform(performer=performer, **{"method": "POST", **fields})
    assert isinstance(outcome, Failed), outcome
    shown = outcome.to_json() + caplog.text
    assert "s3cr" not in shown
    assert "S3CR" not in shown.upper()


async def test_only_the_author_of_the_workflow_can_name_a_secret(site, lab):
    """Data that says {secret:api} is data: a row must not be able to send a secret to its own address."""
    config = json.dumps({"url": site.url(), "method": "POST", "body": "$row {secret:api}"})
    call = HttpCall(
        "HTTP", config, "alice", "0123abcd", 1, "", lambda text: text.replace("$row", "{secret:api}"), str
    )
    assert isinstance(await lab.performer(secrets=SECRETS).perform(call), Done)
    assert site.requests[0].body.decode() == "{secret:api} " + TOKEN


async def test_a_missing_secret_fails_with_what_to_do(site, lab):
    outcome = await lab.perform(site.url("/{secret:nope}"), performer=lab.performer(secrets=SECRETS))
    assert isinstance(outcome, Failed)
    assert outcome.message == "secret 'nope' of role 'alice' is not set"
    assert outcome.hint == "Set it: durasql secret set nope"
    assert not site.requests


async def test_secrets_are_not_asked_for_before_the_privilege(site, lab):
    performer = lab.performer(may_execute=False, secrets={})
    outcome = await lab.perform(site.url("/{secret:nope}"), performer=performer)
    assert isinstance(outcome, Failed)
    assert "EXECUTE privilege" in outcome.message


async def test_a_secret_in_a_request_that_is_too_large_or_blocked_stays_hidden(lab):
    performer = lab.performer(Rules(), secrets=SECRETS, limits=HttpLimits(max_request_bytes=5))
    outcome = await lab.perform(
        "http://x.example/{secret:api}", performer=performer, method="POST", body="123456"
    )
    assert isinstance(outcome, Failed)
    assert "s3cr" not in outcome.to_json()


async def test_a_secret_that_is_the_whole_url_is_hidden_in_pieces_too(site, lab):
    """A webhook's address is its password."""
    hook = site.url("/services/T0123/B4567/abcdefgh")
    performer = lab.performer(secrets={"hook": hook, "user": "user-name:pass-word"})
    outcome = await lab.perform("{secret:hook}", performer=performer)
    assert isinstance(outcome, Done)
    assert "T0123" not in outcome.value
    outcome = await lab.perform(f"http://{{secret:user}}@127.0.0.1:{site.port}/", performer=performer)
    assert isinstance(outcome, Done)
    assert site.requests[1].headers["authorization"] not in outcome.value
    far = lab.performer(Rules(), secrets={"hook": "http://10.0.0.1/services/T0123"})
    outcome = await lab.perform("{secret:hook}", performer=far)
    assert isinstance(outcome, Failed)
    assert "10.0.0.1" not in outcome.to_json()
