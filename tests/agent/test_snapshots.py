"""Archives of the whole state, on whichever agent that is asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import snapshots
from pyconsul.agent.client import ClientAgent
from pyconsul.agent.server import ServerAgent
from pyconsul.agent.snapshots import LocalStream, in_steps
from pyconsul.endpoints import snapshot as endpoints
from pyconsul.endpoints.snapshot import SnapshotOpen, SnapshotRead, SnapshotRestore, SnapshotUpload
from pyconsul.errors import NoLeader, NoPath, PyconsulError, Refused, Unreachable
from pyconsul.interfaces import SnapshotStream
from pyconsul.raft.configuration import Configuration
from pyconsul.state import records
from pyconsul.state.store import Snapshot, Store
from pyconsul.storage import archive
from tests.agent.fixture import noted, put
from tests.agent.world import World

Agent = ServerAgent | ClientAgent


def archive_of(store: Store, **changes: Any) -> bytes:
    """An archive as a server makes it, with other metadata where given."""
    meta = archive.make_meta(store.index, 2, Configuration(), 1, 1.0)
    for name, value in changes.items():
        setattr(meta, name, value)
    snapshot = store.snapshot()
    return b"".join(archive.write(meta, lambda: records.encode(snapshot), 1.0))


def store_in(data: bytes) -> Store:
    """The store that an archive holds."""
    file = io.BytesIO(data)
    archive.verify(file)
    decoder = records.Decoder()
    for piece in archive.state(file):
        decoder.feed(piece)
    store = Store()
    store.restore(decoder.finish())
    return store


def sample() -> Store:
    store = Store()
    store.index = 5
    store.kv.set(5, "restored", b"v", 0)
    return store


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)

    def cluster(self, servers: int = 3) -> None:
        self.leader, *self.followers = self.world.cluster(servers)
        for number in range(40):
            self.leader.ask("KVS.Apply", put(f"k{number}", b"v" * 100))
        self.world.run_for(2.0)

    def client(self) -> ClientAgent:
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.world.run_for(2.0)
        return client

    def result(self, deferred: Deferred[Any], within_s: float = 30.0) -> Any:
        """What a Deferred fires with; an error is returned."""
        answers = noted(deferred)
        self.world.until(lambda: answers, within_s)
        return answers[0]

    def read_all(self, stream: SnapshotStream) -> bytes:
        parts = []
        while piece := self.result(stream.read()):
            if isinstance(piece, Exception):
                raise piece
            parts.append(piece)
        return b"".join(parts)

    def saved(self, agent: Agent, allow_stale: bool = False) -> bytes:
        stream = self.result(agent.snapshot("", "", allow_stale))
        if isinstance(stream, Exception):
            raise stream
        self.stream = stream
        return self.read_all(stream)

    def restored(self, agent: Agent, data: bytes, datacenter: str = "") -> Any:
        return self.result(agent.restore_snapshot(io.BytesIO(data), datacenter, ""))

    def install(self, agent: ServerAgent) -> list[Snapshot]:
        """Stand in for Raft's part; what it was given."""
        given: list[Snapshot] = []

        def install(snapshot: Snapshot) -> Deferred[None]:
            given.append(snapshot)
            return succeed(None)

        agent.snapshots.install = install
        return given


class SaveTests(Base):
    def test_everywhere(self) -> None:
        """Leader, follower and client give the leader's state."""
        self.cluster()
        for agent in (self.leader, self.followers[0], self.client()):
            data = self.saved(agent)
            self.assertEqual(store_in(data).digest(), self.leader.store.digest())
            self.assertEqual((self.stream.index, self.stream.last_contact), (self.leader.store.index, 0))
            self.assertTrue(self.stream.known_leader)
        meta = archive.verify(io.BytesIO(data))
        self.assertEqual(meta.index, self.leader.store.index)
        self.assertEqual(meta.id, f"{meta.term}-{meta.index}-1700000000000")
        assert meta.configuration.servers is not None
        self.assertEqual(
            {server.address for server in meta.configuration.servers},
            {"10.0.0.1:8300", "10.0.0.2:8300", "10.0.0.3:8300"},
        )

    def test_small_pieces(self) -> None:
        """However small the pieces, they are the archive, here and over the network."""
        self.patch(snapshots, "PIECE_BYTES", 300)
        self.cluster()
        client = self.client()
        here = self.saved(self.leader)
        self.assertEqual(self.saved(client), here)
        self.assertGreater(len(here), 1000)

    def test_stale(self) -> None:
        """Any server saves its own state when that will do, with or without a leader."""
        self.cluster()
        follower = self.followers[0]
        digest = follower.store.digest()
        self.saved(follower, allow_stale=True)
        self.assertTrue(self.stream.known_leader)
        self.assertGreater(self.stream.last_contact, 0)
        for agent in (self.leader, self.followers[1]):
            self.world.kill(agent)
        self.world.run_for(10.0)
        self.assertEqual(store_in(self.saved(follower, allow_stale=True)).digest(), digest)
        self.assertFalse(self.stream.known_leader)
        self.assertGreater(self.stream.last_contact, 5e9)
        client = self.client()
        self.assertRaises(PyconsulError, self.saved, client)
        self.assertRaises(NoLeader, self.saved, follower)

    def test_state_of_the_moment(self) -> None:
        """What is written after the beginning is not in it."""
        self.cluster()
        stream = self.result(self.followers[0].snapshot("", "", False))
        before = self.leader.store.digest()
        self.leader.ask("KVS.Apply", put("later"))
        self.world.run_for(1.0)
        self.assertNotEqual(self.leader.store.digest(), before)
        self.assertEqual(store_in(self.read_all(stream)).digest(), before)

    def test_datacenter(self) -> None:
        self.cluster()
        for agent in (self.leader, self.followers[0], self.client()):
            self.assertIsInstance(self.result(agent.snapshot("none", "", False)), NoPath)
            self.assertIsInstance(self.restored(agent, b"", "none"), NoPath)
            self.result(agent.snapshot("dc1", "", False)).close()

    def test_empty_server(self) -> None:
        """A server that has heard of nothing has something to save, too."""
        server = self.world.server(1, bootstrap_expect=3)
        server.startService()
        data = self.saved(server, allow_stale=True)
        self.assertEqual(self.stream.index, 1)
        self.assertEqual(store_in(data).digest(), Store().digest())

    def test_bounds(self) -> None:
        """No more than a few at once, on one server and from afar; closing makes room."""
        self.cluster()
        streams = [self.result(self.leader.snapshot("", "", False)) for _ in range(snapshots.SAVING_MAX)]
        self.assertIsInstance(self.result(self.leader.snapshot("", "", False)), Refused)
        streams[0].close()
        streams[0].close()
        self.assertNotIsInstance(self.result(self.leader.snapshot("", "", False)), Exception)
        for stream in streams:
            stream.close()
        self.assertIsInstance(self.result(streams[0].read()), Refused)

    def test_stop(self) -> None:
        """A server that ends breaks off what is going on."""
        self.cluster()
        stream = self.result(self.leader.snapshot("", "", False))
        reading = noted(stream.read())
        self.leader.snapshots.stop()
        self.assertIsInstance(reading[0], Refused)
        self.assertIsInstance(self.result(stream.read()), Refused)


class RemoteTests(Base):
    """What is open for other agents."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster(1)
        self.family = self.leader.snapshots.endpoints

    def open(self) -> int:
        opened = self.result(self.family.open(SnapshotOpen()))
        assert not isinstance(opened, Exception), opened
        number: int = opened.stream
        return number

    def test_forgotten(self) -> None:
        """What nobody reads for a while is given up."""
        number = self.open()
        self.world.run_for(endpoints.IDLE_S - 1)
        self.assertTrue(self.result(self.family.read(SnapshotRead(stream=number, offset=0))))
        number = self.open()
        self.world.run_for(endpoints.IDLE_S + 1)
        error = self.assertRaises(Refused, self.family.read, SnapshotRead(stream=number, offset=0))
        self.assertIn("no such snapshot", str(error))
        self.assertEqual(self.leader.snapshots._saving, set())

    def test_order(self) -> None:
        """Two readers of one archive would get half each."""
        number = self.open()
        read = SnapshotRead(stream=number, offset=0)
        first = noted(self.family.read(read))
        self.assertRaises(Refused, self.family.read, read)
        self.world.until(lambda: first)
        self.assertRaises(Refused, self.family.read, read)

    def test_close(self) -> None:
        client = self.client()
        stream = self.result(client.snapshot("", "", False))
        self.assertEqual(len(self.leader.snapshots._saving), 1)
        stream.close()
        stream.close()
        self.world.run_for(1.0)
        self.assertEqual(self.leader.snapshots._saving, set())
        self.assertIsInstance(self.result(stream.read()), Refused)

    def test_closed_while_reading(self) -> None:
        number = self.open()
        reading = noted(self.family.read(SnapshotRead(stream=number, offset=0)))
        self.family.close(endpoints.SnapshotClose(stream=number))
        self.assertIsInstance(reading[0], Refused)

    def test_bound(self) -> None:
        self.patch(snapshots, "SAVING_MAX", 100)
        for _ in range(endpoints.OPEN_MAX):
            self.open()
        self.assertRaises(Refused, self.family.open, SnapshotOpen())

    def test_server_lost(self) -> None:
        """Whoever reads from a server that is gone is told so."""
        client = self.client()
        stream = self.result(client.snapshot("", "", False))
        self.world.kill(self.leader)
        self.assertIsInstance(self.result(stream.read(), 60.0), Unreachable)
        stream.close()
        self.world.run_for(40.0)

    def test_relayed_too_late(self) -> None:
        """A server that is taken for the leader and is not says so at once, and asks nobody else."""
        server = self.world.server(2, bootstrap_expect=3)
        server.startService()
        family = server.snapshots.endpoints
        self.assertIsInstance(noted(family.open(SnapshotOpen(relayed=True)))[0], NoLeader)
        upload = family.upload(SnapshotUpload(data=b"x"))
        restore = SnapshotRestore(upload=upload, size=1, relayed=True)
        self.assertIsInstance(noted(family.restore(restore))[0], NoLeader)

    def test_reply_that_makes_no_sense(self) -> None:
        client = self.client()
        self.leader.environment.rpc_transport.handler = lambda method, body: b"\xc1"
        error = self.result(client.snapshot("", "", False))
        self.assertIn("cannot decode the reply of Snapshot.Open", str(error))


class RestoreTests(Base):
    def test_everywhere(self) -> None:
        """Wherever it is asked for, the leader gets the state and says what it leaves out."""
        self.cluster()
        given = self.install(self.leader)
        plain = b"".join(records.encode(sample().snapshot()))
        foreign = plain + b"\x11\x80" + b"\x63\x80"
        for agent in (self.leader, self.followers[0], self.client()):
            data = b"".join(
                archive.write(archive.make_meta(5, 2, Configuration(), 1, 1.0), lambda: iter([foreign]), 1.0)
            )
            self.assertEqual(self.restored(agent, data), {"ACL token": 1, "record of kind 99": 1})
            store = Store()
            store.restore(given.pop())
            self.assertEqual(store.digest(), sample().digest())
        self.assertEqual(given, [])

    def test_large(self) -> None:
        """An archive that goes over the network in many pieces."""
        self.patch(snapshots, "PIECE_BYTES", 100)
        self.cluster()
        given = self.install(self.leader)
        self.assertEqual(self.restored(self.client(), archive_of(sample())), {})
        self.assertEqual(len(given), 1)

    def test_damaged(self) -> None:
        """Nothing is installed of an archive that is not whole, and the text says what is wrong."""
        self.cluster()
        given = self.install(self.leader)
        good = archive_of(sample())
        body = b"".join(records.encode(sample().snapshot()))

        def with_state(data: bytes, **changes: Any) -> bytes:
            meta = archive.make_meta(5, 2, Configuration(), 1, 1.0)
            made = archive.write(meta, lambda: iter([data]), 1.0)
            return b"".join(made)

        for data, text in (
            (b"", "failed to decompress snapshot: EOF"),
            (b"this is no archive", "failed to decompress snapshot: gzip: invalid header"),
            (good[:-1], "unexpected EOF"),
            (
                archive_of(sample(), version=9),
                "Raft error when restoring snapshot: unsupported snapshot version 9",
            ),
            (with_state(body[:-1]), "is incomplete: unexpected EOF"),
            (with_state(b"junk"), "the header of the snapshot's state cannot be read"),
        ):
            for agent in (self.leader, self.followers[0], self.client()):
                error = self.restored(agent, data)
                self.assertIsInstance(error, Refused)
                self.assertIn(text, str(error))
                if isinstance(agent, ClientAgent):
                    self.world.kill(agent)
        self.assertEqual(given, [])

    def test_size(self) -> None:
        """The size in the metadata has to be right."""
        self.cluster(1)
        self.install(self.leader)

        def state(file: Any) -> Iterator[bytes]:
            return iter([b"\x81\xa9LastIndex\x01"])

        self.patch(archive, "state", state)
        data = archive_of(sample())
        size = archive.verify(io.BytesIO(data)).size
        self.assertEqual(
            str(self.restored(self.leader, data)),
            f"Raft error when restoring snapshot: failed to write snapshot, size didn't match (12 != {size})",
        )

    def test_through_raft(self) -> None:
        """Asked of a follower, the state goes through the log to all servers."""
        self.cluster()
        index = self.leader.store.index
        self.restored(self.followers[0], archive_of(sample()))
        self.world.run_for(1.0)
        stores = [agent.store for agent in (self.leader, *self.followers)]
        self.assertEqual(len({store.digest() for store in stores}), 1)
        self.assertGreater(stores[0].index, max(index, sample().index))
        self.assertEqual(stores[0].kv.snapshot().entries, sample().kv.snapshot().entries)

    def test_one_at_a_time(self) -> None:
        self.cluster(1)
        waiting: Deferred[None] = Deferred()
        self.leader.snapshots.install = lambda snapshot: waiting
        first = noted(self.leader.restore_snapshot(io.BytesIO(archive_of(sample())), "", ""))
        self.world.run_for(1.0)
        self.assertIn(
            "another snapshot is being restored", str(self.restored(self.leader, archive_of(sample())))
        )
        waiting.callback(None)
        self.assertEqual(first, [{}])
        self.install(self.leader)
        self.assertEqual(self.restored(self.leader, archive_of(sample())), {})

    def test_stop(self) -> None:
        self.cluster(1)
        self.leader.snapshots.install = lambda snapshot: Deferred()
        first = noted(self.leader.restore_snapshot(io.BytesIO(archive_of(sample())), "", ""))
        self.leader.snapshots.stop()
        self.assertIsInstance(first[0], CancelledError)

    def test_leadership_lost(self) -> None:
        """While nothing was changed, it is tried again with the next leader."""
        self.cluster(1)
        answers: list[Deferred[None]] = [fail(NoLeader()), succeed(None)]
        self.leader.snapshots.install = lambda snapshot: answers.pop(0)
        self.assertEqual(self.restored(self.leader, archive_of(sample())), {})
        self.assertEqual(answers, [])

    def test_no_server(self) -> None:
        client = self.world.client(9)
        client.startService()
        self.assertIsInstance(self.restored(client, archive_of(sample())), PyconsulError)

    def test_server_not_reached(self) -> None:
        """A client takes another server when one cannot be reached."""
        self.cluster()
        client = self.client()
        given = self.install(self.leader)
        gone = self.followers[0]
        self.world.kill(gone)
        client._choice._order = [gone.rpc_address, self.leader.rpc_address]
        answer = self.restored(client, archive_of(sample()))
        self.assertEqual((answer, len(given)), ({}, 1))


class UploadTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.cluster(1)
        self.family = self.leader.snapshots.endpoints

    def test_order(self) -> None:
        """A piece that is missing or comes twice is noticed."""
        number = self.family.upload(SnapshotUpload(data=b"abc"))
        for offset in (0, 2, 4):
            piece = SnapshotUpload(upload=number, offset=offset, data=b"d")
            self.assertRaises(Refused, self.family.upload, piece)
        self.assertEqual(self.family.upload(SnapshotUpload(upload=number, offset=3, data=b"d")), number)
        self.assertRaises(Refused, self.family.restore, SnapshotRestore(upload=number, size=5))
        self.assertRaises(Refused, self.family.restore, SnapshotRestore(upload=number + 1, size=4))

    def test_forgotten(self) -> None:
        number = self.family.upload(SnapshotUpload(data=b"abc"))
        self.world.run_for(endpoints.IDLE_S + 1)
        piece = SnapshotUpload(upload=number, offset=3, data=b"d")
        self.assertIn("no such snapshot upload", str(self.assertRaises(Refused, self.family.upload, piece)))

    def test_bounds(self) -> None:
        for _ in range(endpoints.OPEN_MAX):
            self.family.upload(SnapshotUpload(data=b""))
        self.assertRaises(Refused, self.family.upload, SnapshotUpload(data=b""))
        self.family.stop()
        self.patch(endpoints, "ARCHIVE_BYTES_MAX", 10)
        number = self.family.upload(SnapshotUpload(data=b"123456"))
        large = SnapshotUpload(upload=number, offset=6, data=b"12345")
        self.assertIn("larger than 10 bytes", str(self.assertRaises(Refused, self.family.upload, large)))
        self.assertIn("no such", str(self.assertRaises(Refused, self.family.upload, large)))

    def test_disk_full(self) -> None:
        """An archive that cannot be kept is refused."""

        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                raise OSError(28, "No space left on device")

        self.family._spool = Full
        error = self.assertRaises(Refused, self.family.upload, SnapshotUpload(data=b"x"))
        self.assertEqual(str(error), "cannot keep the snapshot: No space left on device")


class StepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_steps(self) -> None:
        """One step a turn, and what the generator returns."""
        done: list[int] = []

        def work() -> Any:
            for number in range(3):
                done.append(number)
                yield
            return "result"

        answer = noted(in_steps(self.clock, work()))
        self.assertEqual(done, [0])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual((done, answer), ([0, 1, 2], ["result"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_error(self) -> None:
        def work() -> Any:
            yield
            raise Refused("no")

        answer = noted(in_steps(self.clock, work()))
        self.clock.advance(0)
        self.assertIsInstance(answer[0], Refused)

    def test_cancel(self) -> None:
        ended: list[int] = []

        def work() -> Any:
            try:
                while True:
                    yield
            finally:
                ended.append(1)

        doing = in_steps(self.clock, work())
        answer = noted(doing)
        doing.cancel()
        self.assertIsInstance(answer[0], CancelledError)
        self.assertEqual((ended, self.clock.getDelayedCalls()), ([1], []))

    def test_stream_fails(self) -> None:
        """An error while an archive is being made ends it."""
        closed: list[LocalStream] = []

        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise Refused("broken")

        stream = LocalStream(self.clock, pieces(), 1, 0, True, closed.append)
        answer = noted(stream.read())
        self.assertIsInstance(noted(stream.read())[0], Refused)
        self.clock.advance(0)
        self.assertEqual(str(answer[0]), "broken")
        self.assertEqual(closed, [stream])
