"""Who leads, as a server hears it that takes no part in consensus while its disk has failed."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from pyconsul.raft.messages import AppendEntries, Heartbeat, InstallSnapshot, Message
from pyconsul.raft.timing import Timing


class Hearsay:
    """Remembers who spoke as a leader lately, so that requests can still be passed on to it."""

    def __init__(self, clock: IReactorTime, timing: Timing) -> None:
        self._clock = clock
        self._valid_s = 2.0 * timing.heartbeat_timeout_s
        self._until = 0.0
        self._term = 0
        self._leader_id = self._address = ""

    def heard(self, sender: str, message: Message) -> None:
        """Some message came."""
        if isinstance(message, AppendEntries | Heartbeat | InstallSnapshot) and message.term >= self._term:
            self._term = message.term
            self._leader_id, self._address = sender, message.address
            self._until = self._clock.seconds() + self._valid_s

    def _is_valid(self) -> bool:
        return self._clock.seconds() < self._until

    @property
    def leader_id(self) -> str:
        """The leader's id; empty if none was heard lately."""
        return self._leader_id if self._is_valid() else ""

    @property
    def address(self) -> str:
        """Its ``ip:port``; empty if none was heard lately."""
        return self._address if self._is_valid() else ""
