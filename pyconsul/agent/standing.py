"""A server's place in its Raft group: whether it votes, to whom it hands over, who stays when it goes."""

from __future__ import annotations

from random import Random

from pyconsul.agent.replica import Replica
from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.raft.configuration import VOTER, Server, ServerId
from pyconsul.raft.events import ConfigurationChanged

HAND_OVER_ATTEMPTS = 3
"""Before a leader leaves anyway, as Consul has it."""


class Standing:
    """What a server makes of the Raft configuration as far as it concerns itself."""

    def __init__(self, raft: Replica, server_id: ServerId, rng: Random) -> None:
        self._log = make_logger("agent.server.raft")
        self._raft = raft
        self._server_id = server_id
        self._rng = rng
        self._had_vote = self.has_vote
        raft.configuration_changed = self._changed

    @property
    def has_vote(self) -> bool:
        """Whether this server is a voter in the latest configuration."""
        servers = self._raft.core.configuration.servers
        return any(server.id == self._server_id and server.suffrage == VOTER for server in servers)

    @property
    def others(self) -> list[Server]:
        """The other servers in it."""
        return [server for server in self._raft.core.configuration.servers if server.id != self._server_id]

    def _changed(self, change: ConfigurationChanged) -> None:
        has_vote = self.has_vote
        if has_vote != self._had_vote:
            self._had_vote = has_vote
            self._log.info(
                "{what} in the Raft configuration of entry {index}",
                what="this server votes" if has_vote else "this server has no vote and does not campaign",
                index=change.index,
            )

    async def hand_over(self, attempts: int) -> None:
        """Have another server lead, if this one does and there is one."""
        while attempts and self._raft.is_leader and self.others:
            attempts -= 1
            try:
                await self._raft.transfer()
            except PyconsulError as error:
                self._log.warn("cannot hand leadership over: {error}", error=error)

    @property
    def successor(self) -> str:
        """The address of whoever passes requests on when this server was removed; empty while it is in.

        No leader speaks to it any more. Removals come one after another, and each server knows those that
        stayed when it went, so no request goes round in circles.
        """
        servers = self._raft.core.configuration.servers
        if not servers or len(self.others) < len(servers):
            return ""
        return self._rng.choice(servers).address
