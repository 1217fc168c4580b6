"""Networks that are set apart for something, by the RFCs that say so. Source: these RFCs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


def within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Iterable[Network]) -> bool:
    """Whether an address is in any of them."""
    return any(address in network for network in networks)


FORWARDABLE = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/29", "192.88.99.0/24",
    "198.18.0.0/15", "fc00::/7", "64:ff9b::/96", "100::/64", "2001::/32", "2001:2::/48", "2002::/16",
)  # fmt: skip
"""Special networks (RFC 6890) with addresses that may be forwarded."""

SPECIAL = FORWARDABLE + _networks(
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24",
    "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "::1/128", "::/128", "::ffff:0:0/96",
    "2001::/23", "2001:db8::/32", "2001:10::/28", "fe80::/10",
)  # fmt: skip
"""All special networks of RFC 6890."""

PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10", "::1/128")

RFC = {
    "919": _networks("255.255.255.255/32"),
    "1112": _networks("224.0.0.0/4"),
    "1122": _networks("0.0.0.0/8", "127.0.0.0/8"),
    "1918": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    "2544": _networks("198.18.0.0/15"),
    "2765": _networks("0:0:0:0:ffff:0:0:0/96"),
    "2928": _networks("2001::/16"),
    "3056": _networks("2002::/16"),
    "3068": _networks("192.88.99.0/24"),
    "3171": _networks("224.0.0.0/4"),
    "3330": _networks(
        "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    ),
    "3849": _networks("2001:db8::/32"),
    "3927": _networks("169.254.0.0/16"),
    "4038": _networks("::ffff:0:0/96"),
    "4193": _networks("fc00::/7"),
    "4291": _networks("::/128", "::1/128", "fe80::/10", "fec0::/10", "ff00::/8"),
    "4843": _networks("2001:10::/28"),
    "5180": _networks("2001:200::/48"),
    "5735": _networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),
    "5737": _networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
    "6052": _networks("64:ff9b::/96"),
    "6333": _networks("192.0.0.0/29"),
    "6598": _networks("100.64.0.0/10"),
    "6666": _networks("100::/64"),
    "6890": SPECIAL,
    "7335": _networks("192.0.0.0/29"),
}  # fmt: skip
"""Networks by number of RFC, as ``include "rfc"`` takes them."""
