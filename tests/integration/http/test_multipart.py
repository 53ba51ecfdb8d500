"""df.http_multipart on the wire."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes
from email.message import Message

import pytest

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.http import HttpCall


async def send(lab, site, parts, *, whole_value=lambda text: text, substitution=str, **config):
    document = {"url": site.url("/up"), "method": "POST", "parts": parts, **config}
    call = HttpCall(
        "HTTP_MULTIPART", json.dumps(document), "alice", "0123abcd", 10, "", substitution, whole_value
    )
    return await lab.performer().perform(call)


def received(site) -> list[Message]:
    """The parts as an independent reader sees them."""
    seen = site.requests[-1]
    message = message_from_bytes(
        b"Content-Type: " + seen.headers["content-type"].encode() + b"\r\n\r\n" + seen.body
    )
    return list(message.get_payload())


@pytest.fixture
def keep(site):
    site.answer("/up", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    return site


async def test_parts_arrive_with_their_bytes_unchanged(keep, lab):
    data = bytes(range(256)) * 40
    wrapped = base64.encodebytes(data).decode()
    outcome = await send(
        lab,
        keep,
        [
            {"name": "file", "data_b64": wrapped, "filename": "a b.png", "content_type": "image/png"},
            {"name": "raw", "data_b64": "", "unknown": 1},
            {"name": "bin", "data_b64": "AAEC", "filename": "x"},
        ],
        headers={"content-type": "text/plain", "X-A": "1"},
    )
    assert isinstance(outcome, Done)
    file, raw, binary = received(keep)
    assert file.get_payload(decode=True)[: len(data)] == data
    assert file.get_param("filename", header="content-disposition") == "a b.png"
    assert file.get_content_type() == "image/png"
    assert raw["content-type"] is None
    assert raw.get_payload() == ""
    assert binary.get_content_type() == "application/octet-stream"
    assert keep.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert keep.requests[0].headers["x-a"] == "1"


async def test_every_attempt_sends_the_same_bytes(keep, lab):
    for _ in range(2):
        await send(lab, keep, [{"name": "a", "data_b64": "eA=="}])
    first, second = keep.requests
    assert first.body == second.body
    assert first.headers["content-type"] == second.headers["content-type"]


async def test_a_payload_cannot_pretend_to_be_a_part(keep, lab):
    await send(lab, keep, [{"name": "a", "data_b64": "eA=="}])
    boundary = keep.requests[0].headers["content-type"].partition("boundary=")[2]
    forged = f'--{boundary}\r\nContent-Disposition: form-data; name="admin"\r\n\r\n1'.encode()
    await send(lab, keep, [{"name": "a", "data_b64": base64.b64encode(forged).decode()}])
    assert len(received(keep)) == 1


async def test_names_cannot_break_out_of_their_header(keep, lab):
    await send(lab, keep, [{"name": 'a"; x="', "data_b64": "", "filename": "f\r\nX-Evil: 1\x00"}])
    (part,) = received(keep)
    assert part["x-evil"] is None
    assert part.get_param("name", header="content-disposition") == "a%22; x=%22"
    assert part.get_param("filename", header="content-disposition") == "f%0D%0AX-Evil: 1"


@pytest.mark.parametrize("text", ["$name", " $name? ", "$name.col", "$name.col?", "{var}"])
async def test_a_whole_value_reference_is_resolved(keep, lab, text):
    await send(lab, keep, [{"name": "a", "data_b64": text}], whole_value=lambda _: "aGk=")
    assert received(keep)[0].get_payload() == "hi"


BAD_PARTS = [
    (
        [{"name": "n", "data_b64": "x$name"}],
        "HTTP_MULTIPART node 0000000a: data_b64 for part 'n' mixes a variable",
    ),
    (
        [{"name": "n", "data_b64": "$name.*"}],
        "HTTP_MULTIPART node 0000000a: data_b64 for part 'n' mixes a variable",
    ),
    (
        [{"name": "n", "data_b64": "{a}{b}"}],
        "HTTP_MULTIPART node 0000000a: data_b64 for part 'n' mixes a variable",
    ),
    ([{"name": "n", "data_b64": "!!!"}], "Invalid base64 in part 'n': "),
    ([{"name": "n", "data_b64": "eA"}], "Invalid base64 in part 'n': "),
    ([{"name": "n", "data_b64": "é"}], "Invalid base64 in part 'n': "),
    ([{"name": "n", "data_b64": "_-8="}], "Invalid base64 in part 'n': "),
    ([{"name": "n", "data_b64": "", "content_type": "png"}], "Invalid content_type for part 'n': "),
    ([{"name": "n", "data_b64": "", "content_type": "a/b\r\nX: 1"}], "Invalid content_type for part 'n': "),
    ([{"data_b64": ""}], "Invalid multipart HTTP config: missing field `name`"),
    ([{"name": "n"}], "Invalid multipart HTTP config: missing field `data_b64`"),
    ([{"name": 1, "data_b64": ""}], "Invalid multipart HTTP config: `name` of a part must be a string"),
    (["n"], "Invalid multipart HTTP config: a part must be a JSON object"),
    ({}, "Invalid multipart HTTP config: parts must be a JSON array of part objects"),
    ([], "Invalid multipart HTTP config: parts must contain at least one part"),
]


@pytest.mark.parametrize(("parts", "message"), BAD_PARTS)
async def test_a_part_that_is_none_fails_before_anything_is_sent(keep, lab, parts, message):
    outcome = await send(lab, keep, parts)
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith(message)
    assert not keep.requests


@pytest.mark.parametrize("method", ["post", "GET", "DELETE"])
async def test_methods_of_a_config_written_by_hand(keep, lab, method):
    outcome = await send(lab, keep, [{"name": "a", "data_b64": ""}], method=method)
    assert isinstance(outcome, Failed)
    assert outcome.message == f"Unsupported HTTP method for multipart: {method}"


async def test_a_server_error_names_the_step(lab, site):
    site.answer("/up", b"HTTP/1.1 502 Bad\r\nContent-Length: 1\r\n\r\nx")
    outcome = await send(lab, site, [{"name": "a", "data_b64": ""}])
    assert isinstance(outcome, Failed)
    assert outcome.message == f"HTTP_MULTIPART POST {site.url('/up')} returned 502: x"
