"""The six things that a simulated node has exchanged: clock, chance, disk, network, wall time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

from pyconsul.interfaces import Disk, GossipTransport, RaftTransport, RpcTransport, WallTime
from pyconsul.net.tls import Tls


def asleep(seconds: float) -> None:
    """Whatever is about to come, sleep until it does."""


class Environment(Struct, frozen=True):
    """Everything an agent's core services know of the world outside.

    :ivar disk: the data folder; a client agent and a ``-dev`` server may do without.
    :ivar wan_transport: for the pool of the servers of all datacenters; a client agent has none.
    :ivar tls: the agent's certificates, which the transports use; a simulated node has none.
    :ivar stay_awake: the answer of a peer is about to come, within so many seconds at most; with 0 it has.
    """

    clock: IReactorTime
    rng: Random
    wall_time: WallTime
    rpc_transport: RpcTransport
    gossip_transport: GossipTransport
    raft_transport: RaftTransport | None = None
    disk: Disk | None = None
    wan_transport: GossipTransport | None = None
    tls: Tls | None = None
    stay_awake: Callable[[float], object] = asleep
