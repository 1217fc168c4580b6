"""Status.*: who leads, who takes part. Answered by whichever server is asked."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from pyconsul.endpoints.base import node
from pyconsul.structs.operator import RaftStats, RaftStatsRequest


class StatusRequest(Struct, rename="pascal", kw_only=True):
    """A question about a datacenter's servers."""

    datacenter: str = ""


class Status:
    """What this server knows of its Raft group.

    :param leader: ``ip:port`` of the leader, empty if none is known.
    :param peers: ``ip:port`` of every server in the latest configuration.
    :param stats: how this server's replica is.
    """

    def __init__(
        self, leader: Callable[[], str], peers: Callable[[], list[str]], stats: Callable[[], RaftStats]
    ) -> None:
        self._leader = leader
        self._peers = peers
        self._stats = stats

    @node("Status.Ping", StatusRequest, bool)
    def ping(self, request: StatusRequest) -> bool:
        """This server lives."""
        return True

    @node("Status.Leader", StatusRequest, str)
    def leader(self, request: StatusRequest) -> str:
        """The leader's address."""
        return self._leader()

    @node("Status.Peers", StatusRequest, list[str])
    def peers(self, request: StatusRequest) -> list[str]:
        """The addresses of the servers in the Raft configuration."""
        return self._peers()

    @node("Status.RaftStats", RaftStatsRequest, RaftStats)
    def raft_stats(self, request: RaftStatsRequest) -> RaftStats:
        """The last entry of its log, and when it last heard of the leader."""
        return self._stats()
