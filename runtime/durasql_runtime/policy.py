"""Outbound HTTP: which address may be dialled. In: a role's rules, a target, an address. Out: a verdict.

Rules are read in order and the first that fits decides:

    a rule with a host pattern fits the URL's host name;
    a rule with an address or range fits every address the name resolves to, and hosts that are addresses.

Without a fitting rule, public addresses may be dialled and special ones (see `addresses`) may not. An allow
rule opens special addresses only if it names them: by a range, or by a host pattern with `private` set,
which opens private, loopback and carrier addresses but never metadata, link-local and the like. So an
allow rule for a partner's name does not become a hole when that name starts to resolve to 127.0.0.1.

The decision is taken twice, on the URL before anything is resolved and on every resolved address right before
it is dialled, by the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from durasql.limits import MAX_HTTP_BYTES, MAX_HTTP_TIMEOUT
from durasql_runtime.addresses import INTERNAL, Address, Network, contains, kind_of, parse_network


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one exchange; rows `http_…` of df.settings. Sizes in bytes, the timeout in seconds."""

    max_request_bytes: int = MAX_HTTP_BYTES
    max_response_bytes: int = MAX_HTTP_BYTES
    max_timeout: int = MAX_HTTP_TIMEOUT
    use_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, from the one parser; `host` is lower-case ASCII, maybe also an `address`."""

    scheme: str
    host: str
    port: int
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of df.http_policy that applies to the role at hand. None fits everything."""

    number: int
    allow: bool
    host: str = "*"
    scheme: str | None = None
    port: int | None = None
    private: bool = False
    network: Network | None = field(init=False)
    _names: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", parse_network(self.host))
        object.__setattr__(self, "_names", _pattern(self.host))

    def concerns(self, target: Target) -> bool:
        """Whether scheme and port fit."""
        return self.scheme in (None, target.scheme) and self.port in (None, target.port)

    def names_host(self, target: Target) -> bool:
        """Whether the rule fits by the host of the URL, without any resolving."""
        if self.network is not None:
            return target.address is not None and contains(self.network, target.address)
        return self._names.fullmatch(target.host) is not None

    def names_address(self, address: Address) -> bool:
        """Whether the rule fits by its range."""
        return self.network is not None and contains(self.network, address)


def _pattern(host: str) -> re.Pattern[str]:
    """`*` stands for any run of characters, dots included; everything else for itself."""
    return re.compile(".*".join(re.escape(part) for part in host.lower().split("*")))


class Verdict(StrEnum):
    """What the rules say."""

    ALLOWED = "allowed"
    DENIED = "denied"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the rule that made it; None where the default did."""

    verdict: Verdict
    rule: Rule | None = None


_BY_DEFAULT = Decision(Verdict.ALLOWED)


@dataclass(frozen=True, slots=True)
class Rules:
    """A role's rules in order, with a digest that changes when they do."""

    rules: tuple[Rule, ...] = ()
    digest: str = ""

    def decide_url(self, target: Target) -> Decision:
        """What can be said before the name is resolved: DENIED is final, ALLOWED is not."""
        if target.address is not None:
            return self.decide_address(target, target.address)
        for rule in self.rules:
            if not rule.concerns(target):
                continue
            if rule.network is not None and rule.allow:
                # It may fit an address that the name resolves to, before the rules that follow do.
                return _BY_DEFAULT
            if rule.names_host(target):
                return Decision(Verdict.ALLOWED if rule.allow else Verdict.DENIED, rule)
        return _BY_DEFAULT

    def decide_address(self, target: Target, address: Address) -> Decision:
        """Whether this address may be dialled for the target."""
        kind = kind_of(address)
        for rule in self.rules:
            if not rule.concerns(target):
                continue
            by_address = rule.names_address(address)
            if not by_address and not rule.names_host(target):
                continue
            if not rule.allow:
                return Decision(Verdict.DENIED, rule)
            if kind is None or by_address or (rule.private and kind in INTERNAL):
                return Decision(Verdict.ALLOWED, rule)
            # It allows the name, not this address: a later rule may name the address.
        return _BY_DEFAULT if kind is None else Decision(Verdict.RESTRICTED)


def refusal(target: Target, decision: Decision) -> tuple[str, str]:
    """Message and hint of a refused target."""
    if decision.verdict is Verdict.RESTRICTED or decision.rule is None:
        return (
            f"Blocked: the resolved IP address for '{target.host}' is in a restricted range. "
            "df.http() cannot access private or internal network addresses.",
            f"The owner of schema df can open it: {_opening(target)}",
        )
    return (
        f"Blocked: '{target.host}' is not in the allowed endpoint list. "
        f"Rule {decision.rule.number} of df.http_policy denies it.",
        "SELECT * FROM df.http_policy_list() shows the rules, the first that fits decides.",
    )


def _opening(target: Target) -> str:
    if target.address is not None:
        return f"SELECT df.http_allow('{target.host}')"
    return f"SELECT df.http_allow('{target.host}', private => true), or name the address range"


NodeType = Literal["HTTP", "HTTP_MULTIPART"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a role may do at this moment. `installation` is the same for all workers of one schema df."""

    may_execute: bool
    rules: Rules
    installation: str
    limits: HttpLimits | None = None


class PolicyError(Exception):
    """The privileges of a role could not be looked up."""


class PolicySource(Protocol):
    """Tells what a role may do; asked before every request."""

    async def standing(self, role: str, node_type: NodeType) -> Standing:
        """Raises PolicyError if the role cannot be looked up."""
        ...
