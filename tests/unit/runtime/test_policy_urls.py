"""URL tricks: one parser for decision and dialling, nothing that a resolver would read differently (S3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime.perform.http.call import StepFailed
from durasql_runtime.perform.http.target import parse_place, show

SCHEME = "Blocked: unsupported URL scheme"
NAME = "Blocked: '"

REFUSED = [
    ("file:///etc/passwd", "Blocked: unsupported URL scheme 'file'. Only http and https are allowed."),
    ("gopher://x/", SCHEME),
    ("//x/", "Blocked: unsupported URL scheme '//x/'"),
    ("x.example/path", "Blocked: unsupported URL scheme 'x.example/path'"),
    ("http:/\\x.example", SCHEME),
    (" http://x.example", SCHEME),
    ("http:///path", "Blocked: unable to extract hostname from URL."),
    ("http://?q", "Blocked: unable to extract hostname from URL."),
    ("http://user@/", "Blocked: unable to extract hostname from URL."),
    ("http://:80/", "Blocked: unable to extract hostname from URL."),
    ("http://evil.example\\@good.example/", "Blocked: the URL contains a backslash."),
    ("http://good.example\\.evil.example/", "Blocked: the URL contains a backslash."),
    ("http://good.example/\\evil", "Blocked: the URL contains a backslash."),
    ("http://good.example\n.evil.example/", "Blocked: the URL contains a control character."),
    ("http://good.example/\tx", "Blocked: the URL contains a control character."),
    ("http://good.example/\r\nHost: evil", "Blocked: the URL contains a control character."),
    ("http://good.example\x00.evil.example/", "Blocked: the URL contains a control character."),
    (
        "http://good%2eexample/",
        "Blocked: 'good%2eexample' is not a valid host name: it contains a percent sign.",
    ),
    ("http://127.0.0.1%2f.good.example/", NAME),
    ("http://good.example./", "Blocked: 'good.example.' is not a valid host name: it ends with a dot."),
    ("http://127.0.0.1./", "Blocked: '127.0.0.1.' is not a valid host name: it ends with a dot."),
    ("http://2130706433/", "it reads like an IP address in an unusual notation."),
    ("http://0x7f000001/", "it reads like an IP address in an unusual notation."),
    ("http://0x7f.1/", "it reads like an IP address in an unusual notation."),
    ("http://0x7f.0x0.0x0.0x1/", "it reads like an IP address in an unusual notation."),
    ("http://017700000001/", "it reads like an IP address in an unusual notation."),
    ("http://0177.0.0.1/", "HTTP request failed: http://0177.0.0.1/ - Invalid IPv4 address: '0177.0.0.1'"),
    ("http://127.1/", "it reads like an IP address in an unusual notation."),
    ("http://127.0.1/", "it reads like an IP address in an unusual notation."),
    ("http://0/", "it reads like an IP address in an unusual notation."),
    ("http://256.256.256.256/", "HTTP request failed: "),
    ("http://[fe80::1%25eth0]/", "it contains a percent sign."),
    ("http://[fe80::1%eth0]/", "it contains a percent sign."),
    ("http://[::1/", "HTTP request failed: "),
    ("http://[not-v6]/", "HTTP request failed: "),
    ("http://①②⑦.⓪.⓪.①/", "HTTP request failed: "),
    ("http://ｇｏｏｄ.example/", "HTTP request failed: "),
    ("http://good。example。/", "it ends with a dot."),
    ("http://a b.example/", NAME),
    ("http://a..example/", "only letters, digits, hyphens and dots may occur."),
    ("http://.example/", "only letters, digits, hyphens and dots may occur."),
    ("http://-x.example/", "only letters, digits, hyphens and dots may occur."),
    ("http://" + "a" * 64 + ".example/", "only letters, digits, hyphens and dots may occur."),
    ("http://a{b}.example/", "only letters, digits, hyphens and dots may occur."),
    ("http://good.example:80:81/", "HTTP request failed: "),
    ("http://good.example:0/", "Blocked: the URL names port 0, which does not exist."),
    ("http://good.example:99999/", "Blocked: the URL names port 99999, which does not exist."),
    ("http://good.example:-1/", "Blocked: the URL names port -1, which does not exist."),
    ("http://good.example:x/", "HTTP request failed: http://good.example:x/ - Invalid port: 'x'"),
    ("http://x.example/" + "a" * 70000, "HTTP request failed: "),
    ("", "Blocked: unsupported URL scheme ''"),
]


@pytest.mark.parametrize(("url", "phrase"), REFUSED)
def test_a_url_that_is_no_plain_one_is_refused(url, phrase):
    with pytest.raises(StepFailed) as refused:
        parse_place(url)
    assert phrase in str(refused.value)


ACCEPTED = [
    ("https://good.example@evil.example/", "evil.example", 443),
    ("https://good.example:80@evil.example/", "evil.example", 443),
    ("https://a@b@evil.example/", "evil.example", 443),
    ("https://evil.example?.good.example", "evil.example", 443),
    ("https://evil.example?@good.example", "evil.example", 443),
    ("https://evil.example#.good.example", "evil.example", 443),
    ("https://evil.example#@good.example", "evil.example", 443),
    ("https://evil.example/@good.example", "evil.example", 443),
    ("https://evil.example?a=\\", "evil.example", 443),
    ("HTTPS://GOOD.Example:8443/x", "good.example", 8443),
    ("http://bücher.example/", "xn--bcher-kva.example", 80),
    ("http://gооd.example/", "xn--gd-fmca.example", 80),
    ("http://127。0。0。1/", "127.0.0.1", 80),
    ("http://[::1]:8080/", "::1", 8080),
    ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", 80),
    ("http://a_b-c.1x/", "a_b-c.1x", 80),
    ("http://localhost/", "localhost", 80),
]


@pytest.mark.parametrize(("url", "host", "port"), ACCEPTED)
def test_the_host_that_is_judged_is_the_host_that_is_dialled(url, host, port):
    place = parse_place(url)
    assert (place.target.host, place.target.port) == (host, port)
    assert place.url.raw_host.decode() == host


def test_an_address_is_an_address_in_whatever_letters():
    assert str(parse_place("http://127。0。0。1/").target.address) == "127.0.0.1"


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    try:
        place = parse_place("http://" + text)
    except StepFailed:
        return
    assert place.target.host
    assert place.url.raw_host.decode() == place.target.host
    assert set(place.target.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")


def test_credentials_are_never_shown():
    assert show("https://user:pa@ss@x.example/a@b") == "https://***@x.example/a@b"
