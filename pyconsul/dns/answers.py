"""From rows of the catalog to an answer. Source: specs of DNS, sections 1 to 5."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from pyconsul.dns.names import ADDRESS, Lookup
from pyconsul.dns.wire import (
    AAAA,
    ANY,
    CNAME,
    NOTIMP,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TXT,
    A,
    Query,
    Record,
    Reply,
    name_bytes,
)
from pyconsul.dns.zone import Zone
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING, CheckServiceNode, Node, ServiceNode, Weights

if TYPE_CHECKING:
    from random import Random

_T = TypeVar("_T")

NAME_SERVERS_MAX = 3
SRV_PRIORITY = 1
TXT_CHUNK = 255
META_VALUE_ONLY = "rfc1035-"
WHATEVER = frozenset((PASSING, WARNING, CRITICAL))
_USABLE = frozenset((PASSING, WARNING))
_PASSING = frozenset((PASSING,))
_ADDRESS_TYPES = frozenset((A, AAAA, ANY, TXT))

_srv = struct.Struct("!HHH")


def shuffled(rows: Sequence[_T], rng: Random) -> Iterator[_T]:
    """All of ``rows`` in random order; only as much is shuffled as is taken."""
    left = list(rows)
    for place in range(len(left)):
        other = place + int(rng.random() * (len(left) - place))
        left[place], left[other] = left[other], left[place]
        yield left[place]


# ---------------------------------------------------------------- answers without records


def no_such_name(zone: Zone, serial: int) -> Reply:
    """NXDOMAIN."""
    return _reply(zone, code=NXDOMAIN, authority=[zone.soa(serial)])


def empty(zone: Zone) -> Reply:
    """Nothing of the type asked for; for nodes and ``addr`` names Consul answers so, without the SOA."""
    return _reply(zone)


def failed(zone: Zone) -> Reply:
    """The servers could not be asked."""
    return _reply(zone, code=SERVFAIL)


def unsupported(zone: Zone) -> Reply:
    """A zone transfer."""
    return _reply(zone, code=NOTIMP)


def refused() -> Reply:
    """Nothing that this server knows or may find out."""
    return Reply(code=REFUSED, authoritative=False, edns=False)


def nobody_knows() -> Reply:
    """No recursor gave an answer."""
    return Reply(code=SERVFAIL, authoritative=False, recursion_available=True)


def _reply(
    zone: Zone,
    code: int = 0,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    cut: bool = False,
    follow: str = "",
) -> Reply:
    return Reply(
        code=code,
        recursion_available=bool(zone.settings.recursors),
        answers=answers,
        authority=authority,
        additional=additional,
        cut=cut,
        follow=follow,
    )


# ---------------------------------------------------------------- records


def address_record(owner: bytes, packed: bytes, ttl: int) -> Record:
    """An A or AAAA record."""
    return Record(owner, A if len(packed) == 4 else AAAA, ttl, packed)


def owned(record: Record, owner: bytes) -> Record:
    """``record`` for an answer to another question: what was the name asked is ``owner``."""
    return record if record.owner else replace(record, owner=owner)


def _fits(type_: int, packed: bytes) -> bool:
    """Whether an address is an answer to a question for ``type_``; TXT gets addresses too [1.8.7]."""
    if type_ == A:
        return len(packed) == 4
    if type_ == AAAA:
        return len(packed) == 16
    return type_ in (ANY, TXT)


def _cname(host: str, ttl: int) -> Record | None:
    try:
        target = name_bytes(host)
    except ValueError:
        return None
    return Record(b"", CNAME, ttl, b"", target) if target != b"\0" else None


def meta_records(owner: bytes, meta: dict[str, str] | None, ttl: int) -> list[Record]:
    """A TXT record for each pair of a node's metadata."""
    records = []
    for key, value in (meta or {}).items():
        raw = (value if key.lower().startswith(META_VALUE_ONLY) else f"{key}={value}").encode()
        chunks = [raw[at : at + TXT_CHUNK] for at in range(0, len(raw), TXT_CHUNK)] or [b""]
        data = b"".join(bytes((len(chunk),)) + chunk for chunk in chunks)
        records.append(Record(owner, TXT, ttl, data))
    return records


# ---------------------------------------------------------------- nodes and addresses


def node_reply(zone: Zone, query: Query, node: Node) -> Reply:
    """A node's address and metadata."""
    ttl = zone.settings.node_ttl_s
    type_ = query.type
    answers: list[Record] = []
    follow = ""
    if type_ != TXT:
        packed = zone.packed(node.address)
        if packed:
            if _fits(type_, packed):
                answers.append(address_record(b"", packed, ttl))
        else:
            cname = _cname(node.address, ttl)
            if cname is not None:
                answers.append(cname)
                follow = node.address
    if type_ in (TXT, ANY):
        answers += meta_records(b"", node.meta, ttl)
        return _reply(zone, answers=answers, follow=follow)
    additional: list[Record] = []
    if zone.settings.additional_node_meta_txt:
        additional = meta_records(b"", node.meta, ttl)
    return _reply(zone, answers=answers, additional=additional, follow=follow)


def address_reply(zone: Zone, lookup: Lookup) -> Reply:
    """The address that its name spells out, whatever type was asked for [1.8.7]."""
    assert lookup.kind == ADDRESS
    if not lookup.address:
        return empty(zone)
    return _reply(zone, answers=[address_record(b"", lookup.address, zone.settings.node_ttl_s)])


def reverse_reply(
    zone: Zone,
    query: Query,
    serial: int,
    address: str,
    nodes: Sequence[Node],
    services: Sequence[ServiceNode],
) -> Reply | None:
    """The name of the first node or service with ``address``; ``None`` if there is none.

    Whoever asks for an SOA is also told that of our own domain.
    """
    packed = zone.packed(address)
    for node in nodes:
        if zone.packed(node.address) == packed:
            name = zone.node_name(node.node, node.datacenter)
            break
    else:
        if not services:
            return None
        service = services[0]
        name = zone.name(service.service_name, "service", service.datacenter or zone.settings.datacenter)
    if not name:
        return None
    authority = [zone.soa(serial)] if query.type == SOA else []
    return _reply(zone, answers=[Record(b"", PTR, 0, b"", name)], authority=authority)


def zone_reply(
    zone: Zone, query: Query, servers: Sequence[CheckServiceNode], rng: Random, serial: int
) -> Reply:
    """SOA and NS: up to three servers, with their addresses.

    :param servers: the instances of the service ``consul``.
    """
    ttl = zone.settings.node_ttl_s
    names: list[Record] = []
    addresses: list[Record] = []
    for row in shuffled(servers, rng):
        name = zone.node_name(row.node.node, row.node.datacenter)
        packed = zone.packed(row.service.address or row.node.address)
        if not name or not packed or health(row) == CRITICAL:
            continue
        names.append(Record(zone.apex, NS, ttl, b"", name))
        addresses.append(address_record(name, packed, ttl))
        if len(names) == NAME_SERVERS_MAX:
            break
    if query.type == SOA:
        return _reply(zone, answers=[zone.soa(serial)], authority=names, additional=addresses)
    return _reply(zone, answers=names, additional=addresses)


# ---------------------------------------------------------------- services


def health(row: CheckServiceNode) -> str:
    """The worst state among the checks of an instance and of its node."""
    state = PASSING
    for check in row.checks:
        status = check.status
        if status == CRITICAL:
            return CRITICAL
        if status == WARNING:
            state = WARNING
    return state


def service_reply(
    zone: Zone,
    query: Query,
    rows: Sequence[CheckServiceNode],
    ttl: int,
    rng: Random | None,
    serial: int,
    states: frozenset[str] | None = None,
) -> Reply:
    """The instances of a service that are healthy enough.

    :param rng: for another order in each answer; ``None`` keeps the order.
    :param states: in which they may be; by default not critical, or passing only, as configured.
    """
    if states is None:
        states = _PASSING if zone.settings.only_passing else _USABLE
    order = shuffled(rows, rng) if rng is not None else iter(rows)
    if query.type == SRV:
        reply = _srv_reply(zone, query, order, ttl, states)
    else:
        reply = _address_reply(zone, query, order, ttl, states)
    if reply is None:
        return no_such_name(zone, serial)
    if not reply.answers:
        reply.authority = [zone.soa(serial)]
    return reply


def _address_reply(
    zone: Zone, query: Query, order: Iterator[CheckServiceNode], ttl: int, states: frozenset[str]
) -> Reply | None:
    """One record for each distinct address; a CNAME if there are only host names.

    ``None`` if no instance is healthy. Types other than addresses get a CNAME, if there is one.
    """
    type_ = query.type
    wanted = type_ in _ADDRESS_TYPES
    count_max = zone.count_max(query)
    total_max = zone.records_max(query)
    if wanted and zone.settings.a_record_limit:
        total_max = min(total_max, zone.settings.a_record_limit)
    answers: list[Record] = []
    seen: set[bytes] = set()
    host = ""
    found = cut = False
    for row in order:
        state = health(row)
        if state not in states:
            continue
        found = True
        address = row.service.address or row.node.address
        packed = zone.packed(address)
        if not packed:
            host = host or address
        elif wanted and packed not in seen and _fits(type_, packed):
            if count_max and len(answers) >= count_max:
                cut = True
                break
            seen.add(packed)
            answers.append(address_record(b"", packed, ttl))
            if len(answers) >= total_max:
                break
    if not found:
        return None
    if not answers and host:
        cname = _cname(host, ttl)
        if cname is not None:
            return _reply(zone, answers=[cname], follow=host)
    return _reply(zone, answers=answers, cut=cut)


def _srv_reply(
    zone: Zone, query: Query, order: Iterator[CheckServiceNode], ttl: int, states: frozenset[str]
) -> Reply | None:
    """One record for each distinct target and port, with the target's address and metadata.

    ``None`` if no instance is healthy.
    """
    count_max = zone.count_max(query)
    total_max = zone.records_max(query)
    with_meta = zone.settings.additional_node_meta_txt
    answers: list[Record] = []
    additional: list[Record] = []
    seen: set[tuple[bytes, int]] = set()
    told: set[bytes] = set()
    found = cut = False
    for row in order:
        state = health(row)
        if state not in states:
            continue
        found = True
        node = row.node
        service = row.service
        own = zone.node_name(node.node, node.datacenter)
        packed = zone.packed(service.address or node.address)
        target = _target(zone, row, own, packed)
        port = service.port & 0xFFFF
        if not target or (target, port) in seen:
            continue
        if count_max and len(answers) >= count_max:
            cut = True
            break
        seen.add((target, port))
        weight = _weight(service.weights, state)
        answers.append(Record(b"", SRV, ttl, _srv.pack(SRV_PRIORITY, weight & 0xFFFF, port), target))
        if packed and target not in told:
            told.add(target)
            additional.append(address_record(target, packed, ttl))
        if with_meta and node.meta and own and (own, -1) not in seen:
            seen.add((own, -1))
            additional += meta_records(own, node.meta, ttl)
        if len(answers) >= total_max:
            break
    if cut:  # metadata is the first that goes, as where something does not fit
        additional = [record for record in additional if record.type != TXT]
    return _reply(zone, answers=answers, additional=additional, cut=cut) if found else None


def _weight(weights: Weights | None, state: str) -> int:
    """Nothing for a critical instance, which only a prepared query lets through."""
    if state == CRITICAL:
        return 0
    return 1 if weights is None else weights.warning if state == WARNING else weights.passing


def _target(zone: Zone, row: CheckServiceNode, own: bytes, packed: bytes) -> bytes:
    """The node; a name that spells out the service's own address; or the host itself."""
    address = row.service.address
    if packed:
        return zone.address_name(packed, row.node.datacenter) if address else own
    try:
        return name_bytes(address or row.node.address)
    except ValueError:
        return b""
