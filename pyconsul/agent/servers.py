"""Servers as gossip shows them: the tags of a member, read once.

Source: specs of serf's use by Consul, section 11 (tags) and of Raft, section 7 (bootstrap).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from msgspec import Struct

from pyconsul.raft.configuration import VOTER, Configuration
from pyconsul.serf.members import Member, Status
from pyconsul.structs.operator import UNKNOWN_NODE, RaftServer
from pyconsul.swim.address import join_host_port

PORT_MAX = 65535
DIGITS_MAX = 9


class ServerRecord(Struct, frozen=True):
    """One server of some datacenter.

    :ivar id: the node id, which is also its id in the Raft configuration.
    :ivar address: ``ip:port`` of its RPC and Raft port.
    :ivar expect: its ``bootstrap_expect``; 0 when not set.
    :ivar version: of the program, without what comes after the colon.
    :ivar raft_version: of Raft's protocol, as Consul counts it.
    """

    id: str
    name: str
    address: str
    datacenter: str
    expect: int
    bootstrap: bool
    nonvoter: bool
    alive: bool
    status: Status = Status.NONE
    version: str = ""
    raft_version: str = ""


def parse(member: Member) -> ServerRecord | None:
    """The server that ``member`` is; ``None`` if it is a client or its tags make no sense."""
    tags = member.tags
    port = _number(tags.get("port", ""))
    if tags.get("role") != "consul" or not 0 < port <= PORT_MAX or not tags.get("id"):
        return None
    return ServerRecord(
        id=tags["id"],
        name=member.name,
        address=join_host_port(member.addr, port),
        datacenter=tags.get("dc", ""),
        expect=_number(tags.get("expect", "")),
        bootstrap=tags.get("bootstrap") == "1",
        nonvoter=tags.get("nonvoter") == "1",
        alive=member.status is Status.ALIVE,
        status=member.status,
        version=tags.get("build", "").partition(":")[0],
        raft_version=tags.get("raft_vsn", ""),
    )


_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


def is_server(member: Member) -> bool:
    """Whether ``member`` says all that servers say of themselves; others are not let into the WAN pool."""
    tags = member.tags
    return (
        tags.get("role") == "consul"
        and 0 < _number(tags.get("port", "")) <= PORT_MAX
        and _number(tags.get("vsn", "")) > 0
        and _VERSION.search(tags.get("build", "")) is not None
    )


def join_address(member: Member) -> str | None:
    """Where a server of this datacenter gossips with those of others; ``None`` if it does not."""
    port = _number(member.tags.get("wan_join_port", ""))
    if not 0 < port <= PORT_MAX or not is_server(member):
        return None
    return join_host_port(member.addr, port)


def _number(text: str) -> int:
    """A number out of a tag, which anybody may have written; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 0


def servers_of(members: Iterable[Member], datacenter: str) -> list[ServerRecord]:
    """All servers of ``datacenter``, whatever their state."""
    records = (parse(member) for member in members)
    return [record for record in records if record is not None and record.datacenter == datacenter]


_PREFERENCE = (Status.ALIVE, Status.FAILED, Status.LEAVING, Status.LEFT, Status.NONE)


def by_id(records: Iterable[ServerRecord]) -> dict[str, ServerRecord]:
    """The record that counts of each server: under an old name it may have left or failed."""
    found: dict[str, ServerRecord] = {}
    for record in records:
        known = found.get(record.id)
        if known is None or _PREFERENCE.index(record.status) < _PREFERENCE.index(known.status):
            found[record.id] = record
    return found


def raft_servers(
    configuration: Configuration, leader_id: str, records: Iterable[ServerRecord]
) -> list[RaftServer]:
    """The Raft configuration as operators see it."""
    known = by_id(records)
    rows = []
    for server in configuration.servers:
        record = known.get(server.id)
        rows.append(
            RaftServer(
                id=server.id,
                node=UNKNOWN_NODE if record is None else record.name,
                address=server.address,
                leader=server.id == leader_id,
                protocol_version="" if record is None else record.raft_version,
                voter=server.suffrage == VOTER,
            )
        )
    return rows


class ServerChoice:
    """Which server a client agent talks to: one until it fails, then the next.

    The order is shuffled so that the clients of a datacenter spread over its servers.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._order: list[str] = []

    def update(self, addresses: Iterable[str]) -> None:
        """These servers are alive now."""
        alive = set(addresses)
        kept = [address for address in self._order if address in alive]
        for address in sorted(alive.difference(kept)):
            kept.insert(self._rng.randrange(len(kept) + 1), address)
        self._order = kept

    def current(self) -> str | None:
        """The address to call."""
        return self._order[0] if self._order else None

    def failed(self, address: str) -> None:
        """Move ``address`` to the end."""
        if address in self._order and len(self._order) > 1:
            self._order.remove(address)
            self._order.append(address)
