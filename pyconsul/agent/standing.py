"""A server's place in its Raft group: whether it votes, hands over, and how else it learns who leads."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.replica import Replica
from pyconsul.errors import NoLeader, PyconsulError
from pyconsul.log import make_logger
from pyconsul.raft.configuration import VOTER, Server
from pyconsul.raft.events import ConfigurationChanged
from pyconsul.raft.timing import Timing

HAND_OVER_ATTEMPTS = 3
"""Before a leader leaves anyway, as Consul has it."""

REMOVAL_S = 5.0
"""How much longer than to answer who is on the way here a server waits to be removed before it ends."""

LOOK_S = 0.1
"""How often it looks whether it was."""

QUIET_TIMEOUTS = 4
"""Heartbeat timeouts without a leader after which a server was cut off rather than in an election."""


class Standing:
    """What a server makes of the Raft configuration as far as it concerns itself.

    :param server: this one.
    :param ask: Status.Leader of the server at an address, before long.
    """

    def __init__(
        self,
        raft: Replica,
        server: Server,
        timing: Timing,
        ask: Callable[[str], Deferred[str]],
        clock: IReactorTime,
        rng: Random,
    ) -> None:
        self._log = make_logger("agent.server.raft")
        self._raft = raft
        self._server_id = server.id
        self._address = server.address
        self._heartbeat_timeout_s = timing.heartbeat_timeout_s
        self._ask = ask
        self._clock = clock
        self._rng = rng
        self._waiting: list[Deferred[str]] = []
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

    async def drained(self, drain_s: float, remove: Callable[[], Deferred[object]]) -> None:
        """Having left, go on for ``drain_s``, and a little more while the others still count on this server.

        Two servers can do nothing when one of them has ended unremoved: it has half of the votes. Usually
        the leader removes who leaves as soon as it hears of that by gossip, but there may have been an
        election just then, which even this server may have won.

        :param remove: ask the leader to remove this server.
        """
        end = self._clock.seconds() + drain_s
        asked = False
        while True:
            await self.hand_over(1)
            late_s = self._clock.seconds() - end
            counts = any(server.id == self._server_id for server in self._raft.core.configuration.servers)
            if late_s >= (REMOVAL_S if counts and self.others else 0.0):
                break
            if late_s >= 0.0 and not asked:
                asked = True
                remove().addErrback(lambda failure: self._log.warn("not removed: {why}", why=failure.value))
            pause: Deferred[None] = Deferred()
            self._clock.callLater(LOOK_S, pause.callback, None)
            await pause

    @property
    def relies_on_hearsay(self) -> bool:
        """Whether waiting for a leader to speak is of no use.

        None speaks to a server that was removed, and it may take long until one speaks again to a server
        that was cut off. In an election those who know a leader know the old one, so nobody is asked then.
        """
        core = self._raft.core
        if self._raft.is_leader or not self.others:
            return False
        silent_s = self._clock.seconds() - (core.last_contact or 0.0)
        return not self.has_vote or silent_s > QUIET_TIMEOUTS * self._heartbeat_timeout_s

    def hearsay(self) -> Deferred[str]:
        """Where another server says that the leader is; fails with ``NoLeader``.

        All who want to know it meanwhile share one question.
        """
        waiting: Deferred[str] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._ask(self._rng.choice(self.others).address).addBoth(self._told)
        return waiting

    def _told(self, result: object) -> None:
        waiting, self._waiting = self._waiting, []
        if isinstance(result, Failure) and not isinstance(result.value, PyconsulError):
            self._log.failure("asking for the leader failed", failure=result)
        for deferred in waiting:
            if deferred.called:  # cancelled
                continue
            if isinstance(result, str) and result not in ("", self._address):
                deferred.callback(result)
            else:
                deferred.errback(NoLeader())
