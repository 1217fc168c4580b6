"""The configuration in force, those it may fall back to, and how one follows from another.

A configuration counts from the moment its entry is appended, committed or not (dissertation, 4.1).
If that entry is cut off again, the one before it is back in force.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server, ServerId
from pyconsul.raft.events import ChangeConfiguration, ChangeKind


class Membership:
    """The configurations of one server's log.

    :param history: index and configuration of all that the log, or the snapshot before it, holds.
    :ivar latest: the configuration in force.
    :ivar index: the index of its entry, 0 if there is none.
    :ivar voters: ids of those that have a vote in it.
    :ivar quorum: how many voters are a majority.
    """

    __slots__ = ("_addresses", "_history", "index", "latest", "quorum", "voters")

    def __init__(self, history: Iterable[tuple[int, Configuration]] = ()) -> None:
        self._history = [(0, Configuration()), *history]
        self._use_latest()

    def _use_latest(self) -> None:
        self.index, self.latest = self._history[-1]
        servers = self.latest.servers
        self.voters = tuple(server.id for server in servers if server.suffrage == VOTER)
        self.quorum = len(self.voters) // 2 + 1
        self._addresses = {server.id: server.address for server in servers}

    def append(self, index: int, configuration: Configuration) -> None:
        """The entry ``index`` was appended: ``configuration`` is in force."""
        self._history.append((index, configuration))
        self._use_latest()

    def truncate(self, first_dropped: int) -> bool:
        """Entries from ``first_dropped`` on are gone; whether that changed the one in force."""
        if self.index < first_dropped:
            return False
        while len(self._history) > 1 and self._history[-1][0] >= first_dropped:
            self._history.pop()
        self._use_latest()
        return True

    def commit(self, commit_index: int) -> None:
        """Forget what nobody can fall back to any more."""
        history = self._history
        while len(history) > 1 and history[1][0] <= commit_index:
            del history[0]

    def reset(self, index: int, configuration: Configuration) -> None:
        """A snapshot with this configuration has replaced the log."""
        self._history = [(index, configuration)]
        self._use_latest()

    @property
    def committed(self) -> tuple[int, Configuration]:
        """Index and configuration of the latest that is committed."""
        return self._history[0]

    def address_of(self, server_id: ServerId) -> str:
        """Where a server is, as far as the latest configuration knows; else empty."""
        return self._addresses.get(server_id, "")

    def is_alone(self, server_id: ServerId) -> bool:
        """Whether this server has the only vote, and in no configuration before that any other may lead.

        A leader that removed itself may not know yet that this is committed, and still count on our promise.
        """
        others = (
            server.id != server_id and server.suffrage == VOTER
            for _, configuration in self._history
            for server in configuration.servers
        )
        return self.voters == (server_id,) and not any(others)

    def may_campaign(self, server_id: ServerId) -> bool:
        """Whether a server may seek votes.

        One that loses its vote in a configuration that may not be committed yet still may: its
        log can be the only one that is complete (dissertation, 4.2.2).
        """
        if server_id in self.voters:
            return True
        return any(
            server.id == server_id and server.suffrage == VOTER
            for _, configuration in self._history[-2:-1]
            for server in configuration.servers
        )


def changed(latest: Configuration, change: ChangeConfiguration) -> Configuration:
    """What ``latest`` becomes by ``change``; the result still has to be checked for a problem."""
    server_id = change.server
    known = next((server for server in latest.servers if server.id == server_id), None)
    if change.kind is ChangeKind.ADD_VOTER:
        return latest.with_server(Server(server_id, change.address, VOTER))
    if change.kind is ChangeKind.ADD_NONVOTER:
        suffrage = NONVOTER if known is None else known.suffrage
        return latest.with_server(Server(server_id, change.address, suffrage))
    if change.kind is ChangeKind.REMOVE_SERVER:
        return latest.without(server_id)
    if known is None:
        return latest
    return latest.with_server(Server(server_id, known.address, NONVOTER))
