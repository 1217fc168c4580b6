"""``bootstrap_expect``: the first configuration, written alike by all servers that found each other.

Source: specs of Raft, section 7. Doing it on several servers at once is harmless, because all write
the same entry: same servers, in the same order, at index 1 of term 1.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.servers import ServerRecord
from pyconsul.log import make_logger
from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server

ASK_AGAIN_S = 1.0
ASKED_MAX = 6


class Bootstrap:
    """Waits for ``expect`` servers, asks whether a cluster exists, then writes the configuration.

    :param servers: the servers of this datacenter as gossip shows them now, this one included.
    :param log_is_empty: bootstrapping is over for good once there is any entry.
    :param ask_peers: Status.Peers of the server at an address.
    :param write: writes the first configuration.
    """

    def __init__(
        self,
        expect: int,
        servers: Callable[[], list[ServerRecord]],
        log_is_empty: Callable[[], bool],
        ask_peers: Callable[[str], Deferred[list[str]]],
        write: Callable[[Configuration], None],
        clock: IReactorTime,
    ) -> None:
        self._log = make_logger("agent.server")
        self._expect = expect
        self._servers = servers
        self._log_is_empty = log_is_empty
        self._ask_peers = ask_peers
        self._write = write
        self._clock = clock
        self._asking = False
        self._retry: IDelayedCall | None = None
        self._retries = 0
        self._done = expect == 0

    def stop(self) -> None:
        """Do nothing any more."""
        self._done = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def look(self) -> None:
        """Something changed among the servers: see whether it is time."""
        if self._done or self._asking or self._retry is not None:
            return
        if not self._log_is_empty():
            self.stop()
            return
        found = [server for server in self._servers() if server.alive]
        if any(server.bootstrap for server in found) and self._expect != 1:
            self._log.warn("a server is in bootstrap mode, expect mode is disabled")
            self.stop()
            return
        for server in found:
            if server.expect and server.expect != self._expect:
                self._log.error(
                    "server {name} has a conflicting expect value, all must agree", name=server.name
                )
                return
        voters = [server for server in found if not server.nonvoter]
        if len(voters) < self._expect:
            return
        self._asking = True
        asked = gatherResults([self._ask_peers(server.address) for server in found], consumeErrors=True)
        asked.addCallbacks(self._told, self._ask_again, (found,))

    def _told(self, peers: list[list[str]], found: list[ServerRecord]) -> None:
        self._asking = False
        if self._done:
            return
        if any(peers):
            self._log.info("existing Raft peers reported, bootstrapping is disabled")
            self.stop()
            return
        servers = sorted(found, key=lambda server: server.id)
        self._log.info(
            "found expected number of peers, attempting bootstrap: peers={peers}",
            peers=",".join(server.address for server in servers),
        )
        self._done = True
        self._write(
            Configuration([Server(s.id, s.address, NONVOTER if s.nonvoter else VOTER) for s in servers])
        )

    def _ask_again(self, failure: Failure) -> None:
        self._asking = False
        if self._done:
            return
        delay_s = ASK_AGAIN_S * 2 ** min(self._retries, ASKED_MAX)
        self._retries += 1
        self._log.warn("cannot ask all servers for their peers, trying again in {delay_s} s", delay_s=delay_s)
        self._retry = self._clock.callLater(delay_s, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self.look()
