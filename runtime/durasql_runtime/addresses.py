"""Which addresses are special. In: an address. Out: its kind, or None for an ordinary public one.

The table is written out instead of trusting `ipaddress.is_global` alone: that attribute follows the IANA
registry of the running Python, treats NAT64, 6to4 and IPv4-compatible addresses as public although they lead
to whatever IPv4 address they wrap, and knows nothing of the metadata services of clouds. An IPv6 address
outside global unicast space (2000::/3) is special even if no row names it.

Sources: IANA IPv4 and IPv6 special-purpose registries, RFC 6890; the vendors' pages for metadata services.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class Kind(StrEnum):
    """What a special range is for."""

    PRIVATE = "private"
    LOOPBACK = "loopback"
    CARRIER = "carrier NAT"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"
    MULTICAST = "multicast"
    DOCUMENTATION = "documentation"
    BENCHMARK = "benchmark"
    TRANSLATED = "translated"
    RESERVED = "reserved"


INTERNAL = frozenset({Kind.PRIVATE, Kind.LOOPBACK, Kind.CARRIER})
"""Kinds that a rule can open by a host name and `private`; all others only by naming the address itself."""

_TABLE: tuple[tuple[Kind, str], ...] = (
    # Single addresses first: they lie inside wider ranges, and the first match counts.
    (Kind.METADATA, "169.254.169.254/32"),
    (Kind.METADATA, "169.254.170.2/32"),
    (Kind.METADATA, "100.100.100.200/32"),
    (Kind.METADATA, "168.63.129.16/32"),
    (Kind.METADATA, "192.0.0.192/32"),
    (Kind.METADATA, "fd00:ec2::254/128"),
    (Kind.METADATA, "fd00:ec2::23/128"),
    (Kind.METADATA, "fd20:ce::254/128"),
    (Kind.RESERVED, "0.0.0.0/8"),
    (Kind.PRIVATE, "10.0.0.0/8"),
    (Kind.CARRIER, "100.64.0.0/10"),
    (Kind.LOOPBACK, "127.0.0.0/8"),
    (Kind.LINK_LOCAL, "169.254.0.0/16"),
    (Kind.PRIVATE, "172.16.0.0/12"),
    (Kind.RESERVED, "192.0.0.0/24"),
    (Kind.DOCUMENTATION, "192.0.2.0/24"),
    (Kind.TRANSLATED, "192.88.99.0/24"),
    (Kind.PRIVATE, "192.168.0.0/16"),
    (Kind.BENCHMARK, "198.18.0.0/15"),
    (Kind.DOCUMENTATION, "198.51.100.0/24"),
    (Kind.DOCUMENTATION, "203.0.113.0/24"),
    (Kind.MULTICAST, "224.0.0.0/4"),
    (Kind.RESERVED, "240.0.0.0/4"),
    (Kind.LOOPBACK, "::1/128"),
    (Kind.RESERVED, "::/128"),
    (Kind.TRANSLATED, "::/96"),
    (Kind.TRANSLATED, "::ffff:0:0/96"),
    (Kind.TRANSLATED, "::ffff:0:0:0/96"),
    (Kind.TRANSLATED, "64:ff9b::/96"),
    (Kind.TRANSLATED, "64:ff9b:1::/48"),
    (Kind.RESERVED, "100::/64"),
    (Kind.TRANSLATED, "2001::/32"),
    (Kind.BENCHMARK, "2001:2::/48"),
    (Kind.DOCUMENTATION, "2001:db8::/32"),
    (Kind.RESERVED, "2001::/23"),
    (Kind.TRANSLATED, "2002::/16"),
    (Kind.DOCUMENTATION, "3fff::/20"),
    (Kind.RESERVED, "5f00::/16"),
    (Kind.PRIVATE, "fc00::/7"),
    (Kind.LINK_LOCAL, "fe80::/10"),
    (Kind.PRIVATE, "fec0::/10"),
    (Kind.MULTICAST, "ff00::/8"),
)

_RANGES: tuple[tuple[Kind, Network], ...] = tuple((kind, ip_network(text)) for kind, text in _TABLE)
_GLOBAL_UNICAST = IPv6Network("2000::/3")


@lru_cache(maxsize=4096)
def kind_of(address: Address) -> Kind | None:
    """The kind of a special address, None for a public one."""
    for kind, network in _RANGES:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return Kind.RESERVED
    return None


def parse_address(text: str) -> Address | None:
    """The address that a host is, written plainly; None for a name. Zones (`%eth0`) make no address."""
    if "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_network(text: str) -> Network | None:
    """The range that a rule's host is (`10.0.0.0/8`, `::1`), or None for a pattern of names."""
    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def contains(network: Network, address: Address) -> bool:
    """Whether a rule's range names the address; an IPv4 range names its mapped IPv6 form too."""
    if isinstance(address, IPv6Address) and isinstance(network, IPv4Network) and address.ipv4_mapped:
        return address.ipv4_mapped in network
    return address.version == network.version and address in network
