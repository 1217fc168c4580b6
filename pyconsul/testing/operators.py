"""Operators as trouble: they hand leadership over and change who takes part, whatever goes on."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pyconsul.raft.configuration import Server
from pyconsul.raft.events import ChangeKind
from pyconsul.testing.faults import Faults
from pyconsul.testing.kernel import Process


class OperableProcess(Process, Protocol):
    """What runs on a node of a Raft group that operators can get at."""

    def transfer(self) -> None:
        """Ask for leadership to be handed over to anybody."""
        ...

    def change(self, kind: ChangeKind, server: Server) -> None:
        """Ask for a change of the Raft configuration; it may be refused."""
        ...


R = TypeVar("R", bound=OperableProcess)


class OperatorFaults(Faults[R]):
    """The faults of ``Faults``, and what operators do."""

    def _transfer(self) -> None:
        for node in self._world.leaders():
            assert node.process is not None
            self._world.note(f"transfer of leadership from {node}")
            node.process.transfer()

    def _change(self) -> None:
        """Somebody loses its vote, or its place: the leader gives both back to who is alive."""
        if self.rotten is not None:  # one thing after the other: it may be one of a minority that lost data
            return
        for node in self._world.leaders():
            assert node.process is not None
            for _ in range(self._rng.choice((1, 1, 2))):  # some do not wait for the first to be done
                kind = self._rng.choice(list(ChangeKind))
                server = self._rng.choice(self._world.nodes)
                self._world.note(f"{node} is told to {kind.value} {server}")
                node.process.change(kind, Server(server.id, f"{server.ip}:8300"))
