"""The dialled address is a checked one: rebinding, mixed answers, pools, TLS names (S3)."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.http import HttpCall, HttpPerformer
from durasql_runtime.policy import Rule, Rules, Standing

RESTRICTED = (
    "Blocked: the resolved IP address for '{}' is in a restricted range. "
    "df.http() cannot access private or internal network addresses."
)
LOOPBACK = Rules((Rule(1, True, "127.0.0.0/8"),), "loopback")
NAMED = Rules((Rule(1, True, "inside.example", private=True),), "named")


class Resolver:
    """Answers from a script: the next list for every lookup, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def message(outcome) -> str:
    assert isinstance(outcome, Failed), outcome
    return outcome.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/",
        "http://127。0。0。1:{}/",
        "http://[::1]:{}/",
        "http://[::ffff:127.0.0.1]:{}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0:{}/",
        "http://localhost:{}/",
    ],
)
async def test_internal_addresses_are_refused_by_default(site, lab, url):
    outcome = await lab.perform(url.format(site.port), performer=lab.performer(Rules()))
    assert message(outcome).startswith("Blocked: the resolved IP address for '")
    assert site.connections == 0


async def test_a_name_that_leads_inside_is_refused_and_its_address_not_shown(site, lab):
    performer = lab.performer(Rules(), resolver=Resolver(["127.0.0.1"]))
    outcome = await lab.perform(site.url("/", "rebind.example"), performer=performer)
    assert message(outcome) == RESTRICTED.format("rebind.example")
    assert "127.0.0.1" not in outcome.to_json()


async def test_blocked_answers_are_removed_and_the_others_are_dialled(site, lab):
    """Mixed DNS answers: 127.0.0.2 is not named by any rule, 127.0.0.1 is."""
    rules = Rules((Rule(1, True, "127.0.0.1"),), "one")
    resolver = Resolver(["10.0.0.1", "169.254.169.254", "127.0.0.2", "127.0.0.1"])
    performer = lab.performer(rules, resolver=resolver)
    outcome = await lab.perform(site.url("/", "mixed.example"), performer=performer)
    assert isinstance(outcome, Done)
    assert site.requests[0].headers["host"] == f"mixed.example:{site.port}"


async def test_the_answer_that_was_checked_is_the_answer_that_is_dialled(site, lab):
    """Rebinding between check and dial cannot happen: there is one lookup per connection."""
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    performer = lab.performer(Rules((Rule(1, True, "127.0.0.1"),), "one"), resolver=resolver)
    assert isinstance(await lab.perform(site.url("/", "flip.example"), performer=performer), Done)
    assert resolver.asked == ["flip.example"]


async def test_the_next_address_is_tried_when_one_does_not_answer(site, lab):
    performer = lab.performer(LOOPBACK, resolver=Resolver(["127.0.0.9", "127.0.0.1"]))
    assert isinstance(await lab.perform(site.url("/", "two.example"), performer=performer), Done)


async def test_redirects_to_the_inside_are_not_followed(site, perform):
    site.answer("/x", b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    outcome = await perform(site.url("/x"))
    assert json.loads(outcome.value)["headers"]["location"] == "http://169.254.169.254/"


async def test_an_unknown_name_fails_as_a_connection(lab):
    async def unknown(host, port):
        raise OSError(-2, "Name or service not known")

    outcome = await lab.perform("http://no.example/", performer=lab.performer(Rules(), resolver=unknown))
    assert message(outcome) == (
        "HTTP connection failed: http://no.example/ - "
        "could not resolve 'no.example': Name or service not known"
    )


class PerRole:
    """Rules by role, changeable."""

    def __init__(self, rules):
        self.rules = rules

    async def standing(self, role, node_type):
        return Standing(True, self.rules[role], "i")


async def request(performer: HttpPerformer, role: str, url: str):
    config = json.dumps({"url": url, "method": "GET"})
    return await performer.perform(HttpCall("HTTP", config, role, "0123abcd", 1, "", str, str))


async def test_nobody_rides_on_a_connection_that_their_rules_would_not_have_opened(site, lab):
    policy = PerRole({"alice": NAMED, "bob": Rules()})
    performer = lab.performer(resolver=Resolver(["127.0.0.1"]))
    performer._policy = policy
    url = site.url("/", "inside.example")
    assert isinstance(await request(performer, "alice", url), Done)
    assert message(await request(performer, "bob", url)) == RESTRICTED.format("inside.example")
    policy.rules["alice"] = Rules((), "none")
    assert message(await request(performer, "alice", url)) == RESTRICTED.format("inside.example")
    await site.gone.wait()


async def test_a_rule_that_goes_away_does_not_cut_a_request_on_its_way(site, lab):
    go_on = asyncio.Event()

    async def wait(_seen, writer):
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    site.handlers["/slow"] = wait
    policy = PerRole({"alice": NAMED})
    performer = lab.performer(resolver=Resolver(["127.0.0.1"]))
    performer._policy = policy
    slow = asyncio.ensure_future(request(performer, "alice", site.url("/slow", "inside.example")))
    await site.arrived.wait()
    policy.rules["alice"] = Rules((), "none")
    assert isinstance(await request(performer, "alice", site.url("/", "inside.example")), Failed)
    go_on.set()
    assert isinstance(await slow, Done)
    await site.gone.wait()


async def test_proxies_of_the_environment_count_only_when_the_operator_says_so(site, lab, monkeypatch):
    from durasql_runtime.policy import HttpLimits

    monkeypatch.setenv("http_proxy", site.url())
    monkeypatch.delenv("no_proxy", raising=False)
    away = lab.performer(Rules(), resolver=Resolver(["10.0.0.1"]))
    assert isinstance(await lab.perform("http://far.example/x", performer=away), Failed)
    assert not site.requests
    through = lab.performer(Rules(), limits=HttpLimits(use_proxy=True))
    assert isinstance(await lab.perform("http://far.example/x", performer=through), Done)
    assert site.requests[0].path == "http://far.example:80/x"
    assert isinstance(await lab.perform("http://127.0.0.1/x", performer=through), Failed), (
        "addresses are judged"
    )


def certificate(host: str) -> tuple[bytes, bytes]:
    """A certificate for a name, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


async def test_tls_is_checked_for_the_name_in_the_url_not_for_the_address(site, lab, tmp_path):
    public, private = certificate("secure.example")
    (tmp_path / "cert.pem").write_bytes(public + private)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "cert.pem")
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cadata=public.decode())
    performer = lab.performer(LOOPBACK, resolver=Resolver(["127.0.0.1"]), context=trusting)
    assert isinstance(await lab.perform(f"https://secure.example:{port}/", performer=performer), Done)
    assert asked == ["secure.example"]
    outcome = await lab.perform(f"https://other.example:{port}/", performer=performer)
    assert message(outcome).startswith(f"HTTP connection failed: https://other.example:{port}/ - ")
    assert "CERTIFICATE_VERIFY_FAILED" in message(outcome)
    untrusting = lab.performer(LOOPBACK, resolver=Resolver(["127.0.0.1"]))
    assert isinstance(await lab.perform(f"https://secure.example:{port}/", performer=untrusting), Failed)
    server.close()


async def test_without_the_privilege_nothing_is_sent(site, lab):
    performer = lab.performer(may_execute=False)
    assert message(await lab.perform(site.url(), performer=performer)) == (
        "Blocked: role 'alice' does not have EXECUTE privilege on df.http(). "
        "Grant EXECUTE ON FUNCTION df.http(text,text,text,jsonb,integer) TO alice to allow HTTP requests."
    )
    outcome = await lab.perform(
        site.url(),
        performer=performer,
        node_type="HTTP_MULTIPART",
        method="POST",
        parts=[{"name": "a", "data_b64": ""}],
    )
    assert message(outcome) == (
        "Blocked: role 'alice' does not have EXECUTE privilege on df.http_multipart(). "
        "Grant EXECUTE ON FUNCTION df.http_multipart(text,text,jsonb,jsonb,integer) TO alice"
        " to allow multipart HTTP requests."
    )
    assert not site.requests
