"""Which address may be dialled: special ranges, rules and their order (S3)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime.addresses import Kind, kind_of, parse_address
from durasql_runtime.policy import Rule, Rules, Target, Verdict, refusal

SPECIAL = {
    "0.0.0.0": Kind.RESERVED,
    "10.255.255.255": Kind.PRIVATE,
    "100.64.0.1": Kind.CARRIER,
    "100.127.255.255": Kind.CARRIER,
    "100.100.100.200": Kind.METADATA,
    "127.0.0.1": Kind.LOOPBACK,
    "127.255.255.254": Kind.LOOPBACK,
    "168.63.129.16": Kind.METADATA,
    "169.254.0.1": Kind.LINK_LOCAL,
    "169.254.169.254": Kind.METADATA,
    "169.254.170.2": Kind.METADATA,
    "172.16.0.1": Kind.PRIVATE,
    "172.31.255.255": Kind.PRIVATE,
    "192.0.0.1": Kind.RESERVED,
    "192.0.0.192": Kind.METADATA,
    "192.0.2.1": Kind.DOCUMENTATION,
    "192.88.99.1": Kind.TRANSLATED,
    "192.168.1.1": Kind.PRIVATE,
    "198.18.0.1": Kind.BENCHMARK,
    "198.19.255.255": Kind.BENCHMARK,
    "198.51.100.7": Kind.DOCUMENTATION,
    "203.0.113.9": Kind.DOCUMENTATION,
    "224.0.0.1": Kind.MULTICAST,
    "239.255.255.255": Kind.MULTICAST,
    "240.0.0.1": Kind.RESERVED,
    "255.255.255.255": Kind.RESERVED,
    "::": Kind.RESERVED,
    "::1": Kind.LOOPBACK,
    "::7f00:1": Kind.TRANSLATED,
    "::ffff:8.8.8.8": Kind.TRANSLATED,
    "::ffff:127.0.0.1": Kind.TRANSLATED,
    "::ffff:0:127.0.0.1": Kind.TRANSLATED,
    "64:ff9b::a9fe:a9fe": Kind.TRANSLATED,
    "64:ff9b:1::1": Kind.TRANSLATED,
    "100::1": Kind.RESERVED,
    "2001::1": Kind.TRANSLATED,
    "2001:2::1": Kind.BENCHMARK,
    "2001:db8::1": Kind.DOCUMENTATION,
    "2002:7f00:1::": Kind.TRANSLATED,
    "3fff::1": Kind.DOCUMENTATION,
    "4000::1": Kind.RESERVED,
    "5f00::1": Kind.RESERVED,
    "fc00::1": Kind.PRIVATE,
    "fd00:ec2::254": Kind.METADATA,
    "fe80::1": Kind.LINK_LOCAL,
    "fec0::1": Kind.PRIVATE,
    "ff02::1": Kind.MULTICAST,
}

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1",
    "2a00:1450::1",
]


@pytest.mark.parametrize(("text", "kind"), SPECIAL.items())
def test_special_addresses_have_a_kind_and_are_refused_by_default(text, kind):
    address = ip_address(text)
    assert kind_of(address) is kind
    decision = Rules().decide_address(target("example.com"), address)
    assert decision.verdict is Verdict.RESTRICTED


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed_by_default(text):
    assert kind_of(ip_address(text)) is None
    assert Rules().decide_address(target("example.com"), ip_address(text)).verdict is Verdict.ALLOWED


@given(st.ip_addresses(v=4))
def test_an_address_that_the_registry_calls_special_is_never_public(address):
    if not address.is_global:
        assert kind_of(address) is not None


@given(st.ip_addresses(v=4))
def test_no_ipv6_form_of_a_special_address_is_public(address):
    if kind_of(address) is not None:
        for prefix in ("::", "::ffff:", "::ffff:0:", "64:ff9b::"):
            assert kind_of(ip_address(prefix + str(address))) is not None
        number = int(address)
        assert kind_of(ip_address(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1")) is not None


def target(host: str, scheme: str = "https", port: int = 443) -> Target:
    return Target(scheme, host, port, parse_address(host))


def verdict(rules: list[Rule], host: str, address: str | None = None, **more) -> Verdict:
    at = target(host, **more)
    made = Rules(tuple(rules))
    return (made.decide_address(at, ip_address(address)) if address else made.decide_url(at)).verdict


def allow(number: int, host: str = "*", **more) -> Rule:
    return Rule(number, True, host, **more)


def deny(number: int, host: str = "*", **more) -> Rule:
    return Rule(number, False, host, **more)


ONLY_PARTNER = [allow(1, "api.example.com"), allow(2, "*.cdn.example.com"), deny(3)]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.example.com", Verdict.ALLOWED),
        ("a.b.cdn.example.com", Verdict.ALLOWED),
        ("cdn.example.com", Verdict.DENIED),
        ("evilcdn.example.com", Verdict.DENIED),
        ("api.example.com.evil.org", Verdict.DENIED),
        ("api-example.com", Verdict.DENIED),
        ("apiXexample.com", Verdict.DENIED),
        ("8.8.8.8", Verdict.DENIED),
    ],
)
def test_the_first_rule_that_fits_decides(host, expected):
    assert verdict(ONLY_PARTNER, host) is expected


def test_a_rule_fits_scheme_and_port_only_if_it_names_them():
    rules = [allow(1, "a.example", scheme="https"), allow(2, "a.example", port=8080), deny(3)]
    assert verdict(rules, "a.example") is Verdict.ALLOWED
    assert verdict(rules, "a.example", scheme="http", port=8080) is Verdict.ALLOWED
    assert verdict(rules, "a.example", scheme="http", port=80) is Verdict.DENIED


def test_an_allowed_name_does_not_open_private_addresses():
    """Rebinding: the partner's name starts to resolve to the inside."""
    assert verdict(ONLY_PARTNER, "api.example.com", "93.184.216.34") is Verdict.ALLOWED
    assert verdict(ONLY_PARTNER, "api.example.com", "127.0.0.1") is Verdict.DENIED
    assert verdict([allow(1, "api.example.com")], "api.example.com", "127.0.0.1") is Verdict.RESTRICTED


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "100.64.0.1", "fd00::1"])
def test_private_opens_internal_addresses(address):
    assert verdict([allow(1, "in.example", private=True)], "in.example", address) is Verdict.ALLOWED


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.0.1", "224.0.0.1", "64:ff9b::a00:1", "::ffff:10.0.0.1"]
)
def test_private_never_opens_metadata_and_the_like(address):
    assert verdict([allow(1, "*", private=True)], "in.example", address) is Verdict.RESTRICTED


def test_a_range_names_addresses_whatever_the_name():
    rules = [allow(1, "10.1.0.0/16"), deny(2)]
    assert verdict(rules, "svc.corp") is Verdict.ALLOWED, "undecided until it is resolved"
    assert verdict(rules, "svc.corp", "10.1.2.3") is Verdict.ALLOWED
    assert verdict(rules, "svc.corp", "::ffff:10.1.2.3") is Verdict.ALLOWED
    assert verdict(rules, "svc.corp", "10.2.2.3") is Verdict.DENIED
    assert verdict(rules, "svc.corp", "93.184.216.34") is Verdict.DENIED
    assert verdict(rules, "10.1.2.3") is Verdict.ALLOWED


def test_a_denied_range_holds_for_names_that_lead_there():
    rules = [deny(1, "93.184.216.0/24"), allow(2, "*.example.com")]
    assert verdict(rules, "a.example.com", "93.184.216.34") is Verdict.DENIED
    assert verdict(rules, "a.example.com", "93.184.217.34") is Verdict.ALLOWED


def test_metadata_opens_only_when_named_by_address():
    assert verdict([allow(1, "169.254.169.254")], "169.254.169.254") is Verdict.ALLOWED
    assert verdict([], "169.254.169.254") is Verdict.RESTRICTED


def test_a_refusal_names_the_reason_and_the_way_out():
    at = target("10.0.0.1")
    message, hint = refusal(at, Rules().decide_url(at))
    assert message == (
        "Blocked: the resolved IP address for '10.0.0.1' is in a restricted range. "
        "df.http() cannot access private or internal network addresses."
    )
    assert "df.http_allow('10.0.0.1')" in hint
    message, _ = refusal(target("x"), Rules((deny(7),)).decide_url(target("x")))
    assert message == "Blocked: 'x' is not in the allowed endpoint list. Rule 7 of df.http_policy denies it."
