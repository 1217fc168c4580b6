"""From a name that is asked for to what has to be looked up. Source: specs of DNS, section 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from msgspec import Struct

from pyconsul.dns.wire import AAAA, ANY, AXFR, NS, SOA, SRV, TXT, A

OUTSIDE = "outside"
"""Not below the domain: for recursors, if there are any."""
MALFORMED = "malformed"
"""Below the domain, but no form of name that there is."""
UNSUPPORTED = "unsupported"
ZONE = "zone"
REVERSE = "reverse"
NODE = "node"
NODE_EMPTY = "node without such records"
ADDRESS = "address"
SERVICE = "service"
CONNECT = "connect"
INGRESS = "ingress"
QUERY = "query"

_KEYWORDS = frozenset((NODE, SERVICE, CONNECT, INGRESS, QUERY, "addr"))
_NODE_TYPES = frozenset((A, AAAA, TXT, ANY))
_REVERSE = (["in-addr", "arpa"], ["ip6", "arpa"])
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")
_PLAIN = re.compile(r"[0-9A-Za-z_-]+")
NO_TAG = "tcp"


class Lookup(Struct, frozen=True):
    """What to look up.

    :ivar name: of the node, service or prepared query; for ``REVERSE`` an IP address, empty if the
        name holds none.
    :ivar tag: the instances must have it; empty for any.
    :ivar datacenter: as written; empty for this one.
    :ivar address: the address that an ``addr`` name spells out, packed; empty if it spells none.
    """

    kind: str
    name: str = ""
    tag: str = ""
    datacenter: str = ""
    address: bytes = b""


def understand(labels: Sequence[str], type_: int, domains: Sequence[Sequence[str]]) -> Lookup:
    """What a question asks for.

    :param domains: the labels of each domain of ours, in lower case.
    """
    lower = [label.lower() for label in labels]
    for domain in domains:
        depth = len(lower) - len(domain)
        if depth >= 0 and lower[depth:] == domain:
            if type_ == AXFR:
                return Lookup(UNSUPPORTED)
            if type_ in (SOA, NS):
                return Lookup(ZONE)
            return _below(labels[:depth], lower[:depth], type_)
    if lower[-2:] in _REVERSE:
        return Lookup(REVERSE, _reversed(lower))
    return Lookup(OUTSIDE)


def _below(labels: Sequence[str], lower: Sequence[str], type_: int) -> Lookup:
    """``labels`` without the domain."""
    size = len(labels)
    for keyword_at in (size - 1, size - 2):
        if keyword_at >= 0 and lower[keyword_at] in _KEYWORDS:
            datacenter = "".join(labels[keyword_at + 1 :])
            return _form(lower[keyword_at], labels[:keyword_at], datacenter, type_)
    if type_ == SRV and size in (2, 3) and _is_rfc2782(labels[:2]):
        return _service(labels[:2], "".join(labels[2:]))
    return Lookup(MALFORMED)


def _form(keyword: str, labels: Sequence[str], datacenter: str, type_: int) -> Lookup:
    if not labels:
        return Lookup(MALFORMED)
    if keyword == SERVICE:
        return _service(labels, datacenter)
    if keyword in (CONNECT, INGRESS):
        return Lookup(keyword, labels[-1], "", datacenter)
    if keyword == NODE:
        kind = NODE if type_ in _NODE_TYPES else NODE_EMPTY
        return Lookup(kind, ".".join(labels), "", datacenter)
    if keyword == QUERY:
        name = labels[0][1:] if len(labels) == 2 and _is_rfc2782(labels) else ".".join(labels)
        return Lookup(QUERY, name, "", datacenter)
    if len(labels) > 1:
        return Lookup(MALFORMED)
    return _address(labels[0])


def _is_rfc2782(labels: Sequence[str]) -> bool:
    """Whether they name a service and a tag; no tag is behind the second ``_`` where any will do."""
    return len(labels[0]) > 1 and all(label[:1] == "_" for label in labels)


def _service(labels: Sequence[str], datacenter: str) -> Lookup:
    if len(labels) == 2 and _is_rfc2782(labels):
        tag = labels[1][1:]
        return Lookup(SERVICE, labels[0][1:], "" if tag.lower() == NO_TAG else tag, datacenter)
    return Lookup(SERVICE, labels[-1], ".".join(labels[:-1]), datacenter)


def _address(label: str) -> Lookup:
    """What is about as long as an address but none, does not exist; other lengths are empty names [1.8.7]."""
    if len(label) // 2 not in (4, 16) or _PLAIN.fullmatch(label) is None:
        return Lookup(ADDRESS)
    if len(label) % 2 or _HEXADECIMAL.fullmatch(label) is None:
        return Lookup(MALFORMED)
    return Lookup(ADDRESS, address=bytes.fromhex(label))


def _reversed(lower: Sequence[str]) -> str:
    """The address that a name below ``arpa`` stands for; empty if it is not a whole one."""
    digits = lower[-3::-1]
    if lower[-2] == "in-addr":
        if len(digits) == 4 and all(_is_octet(digit) for digit in digits):
            return ".".join(digits)
    elif len(digits) == 32 and all(len(digit) == 1 and digit in "0123456789abcdef" for digit in digits):
        return str(ip_address(bytes.fromhex("".join(digits))))
    return ""


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 256
