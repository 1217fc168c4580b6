"""Servers as gossip shows them: the tags of a member, read once.

Source: specs of serf's use by Consul, section 11 (tags) and of Raft, section 7 (bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from msgspec import Struct

from pyconsul.serf.members import Member, Status

PORT_MAX = 65535
DIGITS_MAX = 9


class ServerRecord(Struct, frozen=True):
    """One server of some datacenter.

    :ivar id: the node id, which is also its id in the Raft configuration.
    :ivar address: ``ip:port`` of its RPC and Raft port.
    :ivar expect: its ``bootstrap_expect``; 0 when not set.
    """

    id: str
    name: str
    address: str
    datacenter: str
    expect: int
    bootstrap: bool
    nonvoter: bool
    alive: bool


def parse(member: Member) -> ServerRecord | None:
    """The server that ``member`` is; ``None`` if it is a client or its tags make no sense."""
    tags = member.tags
    port = _number(tags.get("port", ""))
    if tags.get("role") != "consul" or not 0 < port <= PORT_MAX or not tags.get("id"):
        return None
    host = f"[{member.addr}]" if ":" in member.addr else member.addr
    return ServerRecord(
        id=tags["id"],
        name=member.name,
        address=f"{host}:{port}",
        datacenter=tags.get("dc", ""),
        expect=_number(tags.get("expect", "")),
        bootstrap=tags.get("bootstrap") == "1",
        nonvoter=tags.get("nonvoter") == "1",
        alive=member.status is Status.ALIVE,
    )


def _number(text: str) -> int:
    """A number out of a tag, which anybody may have written; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 0


def servers_of(members: Iterable[Member], datacenter: str) -> list[ServerRecord]:
    """All servers of ``datacenter``, whatever their state."""
    records = (parse(member) for member in members)
    return [record for record in records if record is not None and record.datacenter == datacenter]


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
