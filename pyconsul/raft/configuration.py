"""Who takes part in consensus, and what changes of that are allowed.

Source: specs of Consul's Raft, "Membership"; Ongaro's dissertation, chapter 4.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from msgspec import Struct

ServerId: TypeAlias = str

VOTER = 0
NONVOTER = 1


class Server(Struct, array_like=True, frozen=True):
    """One server: ``id`` is the node id (a UUID), ``address`` is ``ip:port`` of its RPC port."""

    id: ServerId
    address: str
    suffrage: int = VOTER


class Configuration(Struct, array_like=True, frozen=True):
    """The servers of one Raft group, in the order in which they were added."""

    servers: Sequence[Server] = ()

    def encode(self) -> bytes:
        """The data of a CONFIGURATION entry."""
        return msgspec.msgpack.encode(self)

    def problem(self) -> str:
        """Why this configuration cannot be used; empty if it can."""
        ids: set[str] = set()
        addresses: set[str] = set()
        for server in self.servers:
            if not server.id:
                return "empty ID in configuration"
            if not server.address:
                return f"empty address in configuration for server {server.id}"
            if server.id in ids:
                return f"found duplicate ID in configuration: {server.id}"
            if server.address in addresses:
                return f"found duplicate address in configuration: {server.address}"
            ids.add(server.id)
            addresses.add(server.address)
        if all(server.suffrage != VOTER for server in self.servers):
            return "need at least one voter in configuration"
        return ""

    def with_server(self, server: Server) -> "Configuration":
        """The same with ``server`` added, or in place of the one that has its id."""
        if all(known.id != server.id for known in self.servers):
            return Configuration([*self.servers, server])
        return Configuration([server if known.id == server.id else known for known in self.servers])

    def without(self, server_id: ServerId) -> "Configuration":
        """The same without the server ``server_id``, if there is one."""
        return Configuration([server for server in self.servers if server.id != server_id])


def decode(data: bytes) -> Configuration:
    """Read the data of a CONFIGURATION entry. Raises ``msgspec.DecodeError``."""
    return msgspec.msgpack.decode(data, type=Configuration)
