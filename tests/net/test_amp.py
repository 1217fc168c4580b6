"""AMP connections, without sockets."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.protocols import amp
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import BadRequest, NoLeader, PyconsulError, Unreachable
from pyconsul.net import amp as ours
from pyconsul.net.amp import Body, Call, Connection, Raft, gather, spread
from pyconsul.net.wheel import Wheel


class BodyTests(SynchronousTestCase):
    def test_any_length(self) -> None:
        """A value of any length comes back, also at the edges of AMP's 65,535 bytes."""
        for size in (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 1_000_000):
            value = bytes(range(256)) * (size // 256 + 1)
            value = value[:size]
            box: dict[bytes, bytes] = {}
            spread(box, b"body", value)
            self.assertTrue(all(len(part) <= 65_535 for part in box.values()))
            self.assertEqual(gather(box, b"body"), value, size)

    def test_as_an_amp_argument(self) -> None:
        """``Body`` does the same for AMP's own machinery."""
        strings: dict[bytes, bytes] = {}
        Body().toBox(b"body", strings, {"body": b"x" * 70_000}, None)
        objects: dict[str, bytes] = {}
        Body().fromBox(b"body", strings, objects, None)
        self.assertEqual(objects["body"], b"x" * 70_000)


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.raft: list[bytes] = []
        self.served: Callable[[str, bytes], Any] = lambda method, body: method.encode() + b":" + body
        self.client = Connection(self.clock, self.wheel, lambda method, body: b"", self.raft.append)
        self.server = Connection(self.clock, self.wheel, lambda m, b: self.served(m, b), self.raft.append)
        self.pump = self.connect(self.client, self.server)

    def flush(self) -> None:
        """Let everything that was sent arrive, also what waits for the end of the turn."""
        for _ in range(4):
            self.pump.flush()
            self.clock.advance(0)
        self.pump.flush()

    def connect(self, client: Protocol, server: Protocol) -> Any:
        return iosim.connect(
            server, iosim.FakeTransport(server, True), client, iosim.FakeTransport(client, False)
        )

    def test_call(self) -> None:
        """A call brings the endpoint's answer, however long."""
        answer = self.client.call("KVS.Get", b"x" * 200_000, 5.0)
        self.flush()
        self.assertEqual(self.successResultOf(answer), b"KVS.Get:" + b"x" * 200_000)

    def test_pipelined_and_out_of_order(self) -> None:
        """Answers find their calls whatever their order."""
        waiting: list[Deferred[bytes]] = []

        def serve(method: str, body: bytes) -> Deferred[bytes]:
            waiting.append(Deferred())
            return waiting[-1]

        self.served = serve
        first = self.client.call("A", b"", 5.0)
        second = self.client.call("B", b"", 5.0)
        self.flush()
        waiting[1].callback(b"two")
        waiting[0].callback(b"one")
        self.flush()
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (b"one", b"two"))

    def test_expected_errors_travel(self) -> None:
        """The kind and the text of a failure arrive, raised or failed with."""

        def serve(method: str, body: bytes) -> Deferred[bytes]:
            if method == "raise":
                raise BadRequest("Missing key name")
            failing: Deferred[bytes] = Deferred()
            failing.errback(NoLeader())
            return failing

        self.served = serve
        raised, failed = self.client.call("raise", b"", 5.0), self.client.call("fail", b"", 5.0)
        self.flush()
        self.assertEqual(str(self.failureResultOf(raised, BadRequest).value), "Missing key name")
        self.assertEqual(str(self.failureResultOf(failed, NoLeader).value), "No cluster leader")

    def test_a_bug_is_logged_and_hidden(self) -> None:
        """An unexpected exception is logged here and told as an internal error; the connection stays."""

        def serve(method: str, body: bytes) -> bytes:
            raise ZeroDivisionError("secret")

        self.served = serve
        answer = self.client.call("A", b"", 5.0)
        self.flush()
        error = self.failureResultOf(answer, PyconsulError).value
        self.assertEqual(str(error), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_timeout(self) -> None:
        """A call that nobody answers fails after its time; an answer after that is dropped."""
        late: Deferred[bytes] = Deferred()
        self.served = lambda method, body: late
        answer = self.client.call("A", b"", 5.0)
        self.flush()
        self.clock.advance(4.9)
        self.assertNoResult(answer)
        self.clock.advance(0.3)
        self.failureResultOf(answer, Unreachable)
        late.callback(b"late")
        self.flush()

    def test_lost_connection(self) -> None:
        """When the connection goes, calls in flight fail and what is served is cancelled."""
        cancelled: list[object] = []
        self.served = lambda method, body: Deferred(cancelled.append)
        lost: list[bool] = []
        self.client.on_lost = lambda: lost.append(True)
        answer = self.client.call("A", b"", 5.0)
        self.flush()
        self.client.transport.loseConnection()
        self.flush()
        self.failureResultOf(answer, Unreachable)
        self.assertEqual((lost, len(cancelled)), ([True], 1))

    def test_cancel(self) -> None:
        """A caller that gives up is forgotten; the answer goes nowhere."""
        answer = self.client.call("A", b"", 5.0)
        answer.addErrback(lambda failure: None)
        answer.cancel()
        self.flush()
        self.clock.advance(10)
        self.assertIsNone(self.successResultOf(answer))

    def test_raft(self) -> None:
        """Raft bodies arrive in order and are not answered."""
        self.client.send_raft(b"one")
        self.client.send_raft(b"t" * 100_000)
        self.flush()
        self.assertEqual(self.raft, [b"one", b"t" * 100_000])

    def test_pause(self) -> None:
        """A transport that is full says so."""
        self.client.pauseProducing()
        self.assertTrue(self.client.paused)
        self.client.resumeProducing()
        self.assertFalse(self.client.paused)


class AmpItself(amp.AMP):
    """What Twisted's own dispatcher makes of our commands."""

    def __init__(self) -> None:
        super().__init__()
        self.raft: list[bytes] = []

    @Call.responder
    def call(self, method: str, body: bytes) -> dict[str, bytes]:
        if method == "refuse":
            raise ours.Failed("NO_LEADER\nNo cluster leader")
        return {"body": body[::-1]}

    @Raft.responder
    def raft_messages(self, body: bytes) -> dict[str, bytes]:
        self.raft.append(body)
        return {}


class AmpCompatibilityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.theirs = AmpItself()
        self.raft: list[bytes] = []
        self.ours = Connection(self.clock, self.wheel, lambda method, body: body.upper(), self.raft.append)
        self.pump = iosim.connect(
            self.theirs,
            iosim.FakeTransport(self.theirs, True),
            self.ours,
            iosim.FakeTransport(self.ours, False),
        )

    def flush(self) -> None:
        """Let everything that was sent arrive, also what waits for the end of the turn."""
        for _ in range(4):
            self.pump.flush()
            self.clock.advance(0)
        self.pump.flush()

    def test_we_call(self) -> None:
        """Stock AMP answers our calls and takes our Raft batches."""
        answer = self.ours.call("A", b"ab" * 50_000, 5.0)
        refused = self.ours.call("refuse", b"", 5.0)
        self.ours.send_raft(b"batch")
        self.flush()
        self.assertEqual(self.successResultOf(answer), b"ba" * 50_000)
        self.failureResultOf(refused, NoLeader)
        self.assertEqual(self.theirs.raft, [b"batch"])

    def test_they_call(self) -> None:
        """We answer the calls of stock AMP."""
        answer = self.theirs.callRemote(Call, method="A", body=b"abc" * 40_000)
        self.theirs.callRemote(Raft, body=b"batch")
        self.flush()
        self.assertEqual(self.successResultOf(answer)["body"], b"ABC" * 40_000)
        self.assertEqual(self.raft, [b"batch"])


class PiecesTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        """Boxes may come in pieces of any size."""
        boxes = b"".join(
            ours.serialize([(amp.COMMAND, b"Raft")], body) for body in (b"", b"one", b"x" * 70_000, b"two")
        )
        for size in (1, 2, 3, 7, 1000, 65_535, len(boxes)):
            got: list[bytes] = []
            connection = Connection(Clock(), Wheel(Clock()), lambda method, body: b"", got.append)
            connection.makeConnection(StringTransport())
            for start in range(0, len(boxes), size):
                connection.dataReceived(boxes[start : start + size])
            self.assertEqual(got, [b"", b"one", b"x" * 70_000, b"two"], size)

    def test_serialize(self) -> None:
        """What is sent is what AMP itself would send, but for the order of the keys."""
        for size in (0, 5, 65_535, 65_536, 200_000):
            box: dict[bytes, bytes] = {b"a": b"1", b"b": b""}
            spread(box, b"body", b"y" * size)
            parsed = amp.parseString(ours.serialize([(b"a", b"1"), (b"b", b"")], b"y" * size))
            self.assertEqual(parsed, [box])

    def test_one_turn(self) -> None:
        """The first box of a turn goes at once, the others together at its end."""
        clock, transport = Clock(), StringTransport()
        connection = Connection(clock, Wheel(clock), lambda method, body: b"", lambda body: None)
        connection.makeConnection(transport)
        written: list[bytes] = []
        self.patch(transport, "write", written.append)
        calls = [connection.call("A", b"x", 5.0) for _ in range(3)]
        self.assertEqual(len(written), 1)
        clock.advance(0)
        self.assertEqual([len(data) // len(written[0]) for data in written], [1, 2])
        calls.append(connection.call("A", b"x", 5.0))
        connection.connectionLost()
        clock.advance(0)
        self.assertEqual(len(written), 3)
        for call in calls:
            self.failureResultOf(call, Unreachable)

    def test_raft_goes_at_once(self) -> None:
        """Its messages were gathered before."""
        clock, transport = Clock(), StringTransport()
        connection = Connection(clock, Wheel(clock), lambda method, body: b"", lambda body: None)
        connection.makeConnection(transport)
        written: list[bytes] = []
        self.patch(transport, "write", written.append)
        for _ in range(3):
            connection.send_raft(b"x")
        self.assertEqual(len(written), 3)


class HostileTests(SynchronousTestCase):
    def connection(self) -> tuple[Connection, StringTransport]:
        def decode(body: bytes) -> None:
            raise ValueError("not a batch")

        connection = Connection(Clock(), Wheel(Clock()), lambda method, body: b"", decode)
        transport = StringTransportWithDisconnection()
        transport.protocol = connection
        connection.makeConnection(transport)
        return connection, transport

    def test_a_box_without_end(self) -> None:
        """A box may not grow past its bound."""
        self.patch(ours, "BOX_BYTES_MAX", 200_000)
        connection, transport = self.connection()
        for number in range(10):
            key = b"k%d" % number
            connection.dataReceived(bytes([0, len(key)]) + key + b"\xff\xff" + b"x" * 65_535)
            if transport.disconnected:
                break
        self.assertTrue(transport.disconnected)
        self.assertLess(number, 5)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_cannot_be_understood(self) -> None:
        """Boxes without a command, calls without their parts, batches that do not decode: closed."""
        boxes = [
            {b"a": b"b"},
            {b"_command": b"Nope", b"_ask": b"1"},
            {b"_command": b"Call", b"_ask": b"1"},
            {b"_command": b"Raft", b"body": b"junk"},
            {b"_answer": b"1"},
        ]
        closed = []
        for box in boxes:
            connection, transport = self.connection()
            connection.dataReceived(amp.AmpBox(box).serialize())
            closed.append(transport.disconnected)
        self.flushLoggedErrors()
        self.assertEqual(closed, [True, True, False, True, False])

    def test_key_too_long(self) -> None:
        """A key length above 255 is not AMP."""
        connection, transport = self.connection()
        connection.dataReceived(b"\x01\x00" + b"x" * 256)
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
