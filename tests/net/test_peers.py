"""Connections to other servers, over loopback."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pyconsul.errors import NotSent, Refused, Unreachable
from pyconsul.net import peers
from pyconsul.net.peers import AmpNetwork
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.messages import AppendEntries, Entry, Heartbeat, InstallSnapshot, Message
from pyconsul.raft.snapshot import SnapshotInfo

HOST = "127.0.26.1"


class AmpNetworkTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.one, self.two = AmpNetwork(reactor, "one"), AmpNetwork(reactor, "two")
        self.port: Any = reactor.listenTCP(0, self.two.make_factory(), interface=HOST)
        host: Any = self.port.getHost()
        self.address = f"{HOST}:{host.port}"
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self.one.close)
        self.addCleanup(self.two.close)
        self.got: list[tuple[str, Message]] = []
        self.awaited: Deferred[None] = Deferred()
        self.expecting = 0

    def expect(self, count: int) -> Deferred[None]:
        self.expecting = count

        def received(sender: str, message: Message) -> None:
            self.got.append((sender, message))
            if len(self.got) == self.expecting:
                self.awaited.callback(None)

        self.two.received = received
        return self.awaited

    @inlineCallbacks
    def test_raft_messages(self) -> Any:
        """Messages sent before the connection stands and after it arrive in order, with their sender."""
        all_there = self.expect(101)
        sent: list[Message] = [Heartbeat(1, number, 0) for number in range(100)]
        sent.append(AppendEntries(1, 1, 1, 1, [Entry(1, 2, 0, b"x" * 200_000)]))
        for message in sent[:50]:
            self.one.send("two", self.address, message)
        yield deferLater(reactor, 0.05)
        for message in sent[50:]:
            self.one.send("two", self.address, message)
        yield all_there
        self.assertEqual([sender for sender, _ in self.got], ["one"] * 101)
        self.assertEqual([message for _, message in self.got], sent)

    @inlineCallbacks
    def test_heartbeats_go_at_once(self) -> Any:
        """They take along what waits for the end of the turn."""
        all_there = self.expect(4)
        sent: list[Message] = [
            Heartbeat(1, 1, 0),
            AppendEntries(1, 1, 1, 1, []),
            Heartbeat(1, 2, 0),
            AppendEntries(1, 1, 1, 2, []),
        ]
        self.one.send("two", self.address, sent[0])
        yield deferLater(reactor, 0.05)
        written: list[bytes] = []
        connection: Any = self.one._raft_links[self.address].connection
        write = connection.transport.write

        def noted(data: bytes) -> None:
            written.append(data)
            write(data)

        self.patch(connection.transport, "write", noted)
        self.one.send("two", self.address, sent[1])
        self.assertEqual(len(written), 0)
        self.one.send("two", self.address, sent[2])
        self.assertEqual(len(written), 1)
        self.one.send("two", self.address, sent[3])
        self.assertEqual(len(written), 1)
        yield all_there
        self.assertEqual(len(written), 2)
        self.assertEqual([message for _, message in self.got], sent)

    @inlineCallbacks
    def test_pieces_of_a_snapshot(self) -> Any:
        """More than the buffers hold at once: the rest follows as soon as there is room."""
        configuration = Configuration([Server("one", self.address)])
        info = SnapshotInfo(9, 1, configuration, 1, 8 << 20, 1)
        all_there = self.expect(33)
        sent: list[Message] = [Heartbeat(1, 1, 0)]
        self.one.send("two", self.address, sent[0])
        yield deferLater(reactor, 0.05)
        for number in range(32):
            piece = InstallSnapshot(1, info, number << 18, bytes([number]) * (1 << 18), self.address)
            sent.append(piece)
            self.one.send("two", self.address, piece)
            if number % 4 == 3:
                yield deferLater(reactor, 0)
        yield all_there
        self.assertEqual([message for _, message in self.got], sent)

    @inlineCallbacks
    def test_calls(self) -> Any:
        """Calls are answered, also those made while the connection is being dialled."""
        self.two.handler = lambda method, body: body + method.encode()
        first = self.one.call(self.address, "A", b"1", 5.0)
        second = self.one.call(self.address, "B", b"2", 5.0)
        self.assertEqual((yield first), b"1A")
        self.assertEqual((yield second), b"2B")
        self.assertEqual((yield self.one.call(self.address, "C", b"", 5.0)), b"C")

    def test_a_client_agent_serves_nothing(self) -> Deferred[Any]:
        """Who has set no handler refuses every call."""
        return self.assertFailure(self.one.call(self.address, "KVS.Get", b"", 5.0), Refused)

    @inlineCallbacks
    def test_nobody_there(self) -> Any:
        """A call to nobody was certainly not made; Raft hears that its peer is unreachable."""
        unreachable: Deferred[str] = Deferred()
        self.one.unreachable = unreachable.callback
        nobody = f"{HOST}:9"
        yield self.assertFailure(self.one.call(nobody, "A", b"", 5.0), NotSent)
        self.one.send("gone", nobody, Heartbeat(1, 1, 1))
        self.assertEqual((yield unreachable), "gone")

    @inlineCallbacks
    def test_the_peer_dies(self) -> Any:
        """A call in flight fails with an unknown outcome, and the next one dials anew."""
        hanging: list[Deferred[bytes]] = []

        def serve(method: str, body: bytes) -> Any:
            if method == "hang":
                hanging.append(Deferred())
                self.two.close()
                return hanging[-1]
            return b"ok"

        self.two.handler = serve
        yield self.assertFailure(self.one.call(self.address, "hang", b"", 5.0), Unreachable)
        yield self.port.stopListening()
        yield self.assertFailure(self.one.call(self.address, "again", b"", 5.0), NotSent)

    @inlineCallbacks
    def test_bounds(self) -> Any:
        """Neither calls nor messages pile up for a server that is not there."""
        self.patch(peers, "CALLS_WAITING_MAX", 2)
        self.patch(peers, "RAFT_MESSAGES_WAITING_MAX", 3)
        calls = [self.one.call(self.address, "A", b"", 5.0) for _ in range(3)]
        yield self.assertFailure(calls[2], NotSent)
        self.two.handler = lambda method, body: b"ok"
        yield calls[0]
        yield calls[1]
        there = self.expect(3)
        for number in range(10):
            self.one.send("two", self.address, Heartbeat(1, number, 0))
        yield there
        yield deferLater(reactor, 0.05)
        self.assertEqual(len(self.got), 3)

    @inlineCallbacks
    def test_closed(self) -> Any:
        """A network that is closed sends nothing."""
        self.one.close()
        self.one.send("two", self.address, Heartbeat(1, 1, 1))
        yield self.assertFailure(self.one.call(self.address, "A", b"", 5.0), NotSent)
        self.assertEqual(self.got, [])

    @inlineCallbacks
    def test_abandon(self) -> Any:
        """A server that hangs is waited for no more; whoever calls next, and be it at once, is served."""
        served: list[str] = []
        hangs: Deferred[None] = Deferred()

        def serve(method: str, body: bytes) -> Any:
            served.append(method)
            if method != "hang":
                return b"ok"
            hangs.callback(None)
            return Deferred()

        self.two.handler = serve
        waiting = self.one.call(self.address, "hang", b"", 30.0)
        again = waiting.addErrback(lambda failure: failure.trap(Unreachable)).addCallback(
            lambda _: self.one.call(self.address, "again", b"", 30.0)
        )
        yield hangs
        self.one.abandon(self.address)
        self.assertEqual((yield self.one.call(self.address, "next", b"", 30.0)), b"ok")
        self.assertEqual((yield again), b"ok")
        self.assertEqual(served[0], "hang")

    @inlineCallbacks
    def test_abandon_before_it_is_there(self) -> Any:
        """What was not sent was certainly not done; nobody is no trouble."""
        self.one.abandon(self.address)
        waiting = self.one.call(self.address, "A", b"", 30.0)
        self.one.abandon(self.address)
        yield self.assertFailure(waiting, NotSent)

    @inlineCallbacks
    def test_again_at_once(self) -> Any:
        """Whoever calls again when his call is lost gets a connection of its own."""
        connections: list[Any] = []

        def serve(method: str, body: bytes) -> Any:
            if method == "again":
                return b"ok"
            for inbound in self.two._inbound:
                inbound.transport.loseConnection()
            return Deferred()

        self.two.handler = serve
        lost = self.one.call(self.address, "A", b"", 30.0)
        lost.addErrback(lambda failure: connections.append(failure.trap(Unreachable)))
        lost.addCallback(lambda _: self.one.call(self.address, "again", b"", 30.0))
        self.assertEqual((yield lost), b"ok")
        self.assertEqual(connections, [Unreachable])
