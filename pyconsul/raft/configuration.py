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


def decode(data: bytes) -> Configuration:
    """Read the data of a CONFIGURATION entry."""
    return msgspec.msgpack.decode(data, type=Configuration)
