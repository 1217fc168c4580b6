"""/v1/snapshot."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import Any, BinaryIO

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoPath, PermissionDenied, Refused
from pyconsul.http import snapshot
from pyconsul.interfaces import LocalAgent, SnapshotStream
from pyconsul.storage.archive import ARCHIVE_BYTES_MAX
from tests.http.fakes import DATE, Client, FakeAgent, site

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-gzip\r\nVary: Accept-Encoding\r\nX-Consul-Index: 64\r\n"
    b"X-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 3\r\nTransfer-Encoding: chunked\r\nDate: " + DATE
)


class Stream:
    """An archive whose pieces come when the test says so, or at once."""

    index, last_contact, known_leader = 64, 3_000_000, True

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.reading: Deferred[bytes] | None = None
        self.reads = 0
        self.closed = 0

    def read(self) -> Deferred[bytes]:
        self.reads += 1
        if self.pieces:
            return succeed(self.pieces.pop(0))
        self.reading = Deferred()
        return self.reading

    def close(self) -> None:
        self.closed += 1


class SnapshotAgent(FakeAgent):
    """Gives a stream, or fails; takes archives."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: SnapshotStream | Exception = Stream(b"abc", b"de", b"")
        self.outcome: dict[str, int] | Exception = {}
        self.saves: list[tuple[str, str, bool]] = []
        self.restores: list[tuple[bytes, str, str]] = []
        self.archive: BinaryIO | None = None

    def snapshot(self, datacenter: str, token: str, allow_stale: bool) -> Deferred[SnapshotStream]:
        self.saves.append((datacenter, token, allow_stale))
        return fail(self.stream) if isinstance(self.stream, Exception) else succeed(self.stream)

    def restore_snapshot(self, archive: BinaryIO, datacenter: str, token: str) -> Deferred[dict[str, int]]:
        self.archive = archive
        self.restores.append((archive.read(), datacenter, token))
        return fail(self.outcome) if isinstance(self.outcome, Exception) else succeed(self.outcome)


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = SnapshotAgent()
        self.serve()

    def serve(self, **settings: Any) -> None:
        agent: LocalAgent = self.agent  # type: ignore[assignment]
        self.site = site(self.agent, more=[lambda app, _: snapshot.add_routes(app, agent)], **settings)
        self.client = Client(self.site)

    def ask(self, target: str = "/v1/snapshot", method: str = "GET", *more: Any) -> tuple[bytes, bytes]:
        head, _, body = self.client.get(target, method, *more).partition(b"\r\n\r\n")
        return head, body

    def waiting(self) -> Stream:
        """A stream whose pieces the test gives."""
        stream = Stream()
        self.agent.stream = stream
        return stream


class SaveTests(Base):
    def test_archive(self) -> None:
        """The pieces, as they come, with the headers of a read."""
        head, body = self.ask()
        self.assertEqual(head, HEAD)
        self.assertEqual(body, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.assertEqual(self.agent.saves, [("", "", False)])
        self.agent.stream = Stream(b"")
        self.assertTrue(
            self.client.get("/v1/snapshot").endswith(b"\r\n\r\n0\r\n\r\n")
        )  # on the same connection

    def test_parameters(self) -> None:
        self.ask("/v1/snapshot?dc=dc2&stale&token=t")
        self.agent.stream = Stream(b"")
        self.ask("/v1/snapshot", "GET", b"", "X-Consul-Token: h\r\n")
        self.assertEqual(self.agent.saves, [("dc2", "t", True), ("", "h", False)])

    def test_not_packed_again(self) -> None:
        """It is gzip already."""
        head, body = self.ask("/v1/snapshot", "GET", b"", "Accept-Encoding: gzip\r\n")
        self.assertEqual((head, body[:8]), (HEAD, b"3\r\nabc\r\n"))

    def test_old_client(self) -> None:
        """HTTP/1.0 knows no chunks."""
        head, _, body = self.client.send(b"GET /v1/snapshot HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
        self.assertIn(b"Connection: close", head)
        self.assertEqual(body, b"abcde")
        self.assertTrue(self.client.transport.disconnecting)

    def test_response_headers(self) -> None:
        self.serve(response_headers={"x-conf": "yes"})
        head, _ = self.ask()
        self.assertEqual(head.count(b"X-Conf: yes"), 1)

    def test_refused(self) -> None:
        """An error before the first byte is an answer like any other."""
        for error, status, text in (
            (NoPath(), b"500", b"No path to datacenter"),
            (PermissionDenied("Permission denied"), b"403", b"Permission denied"),
        ):
            self.agent.stream = error
            head, body = self.ask()
            self.assertIn(b"HTTP/1.1 " + status, head)
            self.assertIn(b"Content-Type: text/plain; charset=utf-8", head)
            self.assertNotIn(b"X-Consul-Index", head)
            self.assertEqual(body, text)

    def test_blocked(self) -> None:
        self.serve(block_endpoints=["/v1/snapshot"])
        head, body = self.ask()
        self.assertIn(b" 403 ", head)
        self.assertEqual((body, self.agent.saves), (b"Endpoint is blocked by agent configuration", []))

    def test_other_methods(self) -> None:
        for method in ("POST", "DELETE", "HEAD"):
            head, body = self.ask("/v1/snapshot", method)
            self.assertIn(b" 405 ", head)
            self.assertIn(b"Allow: OPTIONS,GET,PUT\r\n", head)
            self.assertEqual(body, b"" if method == "HEAD" else f"method {method} not allowed".encode())
        head, _ = self.ask("/v1/snapshot", "OPTIONS")
        self.assertIn(b" 200 ", head)
        self.assertIn(b"Allow: OPTIONS,GET,PUT\r\n", head)

    def test_slow_client(self) -> None:
        """Nothing is read for a client that does not keep up."""
        stream = self.waiting()
        self.client.get("/v1/snapshot")
        self.client.channel.pauseProducing()
        assert stream.reading is not None
        stream.reading.callback(b"x")
        self.assertEqual(stream.reads, 1)
        self.client.channel.resumeProducing()
        self.assertEqual(stream.reads, 2)
        self.client.channel.pauseProducing()
        self.client.channel.resumeProducing()
        self.assertEqual(stream.reads, 2)
        stream.reading.callback(b"")
        self.assertTrue(self.client.received().endswith(b"0\r\n\r\n"))

    def test_client_gone(self) -> None:
        """The stream is closed, and what comes late harms nobody."""
        stream = self.waiting()
        self.client.get("/v1/snapshot")
        self.client.lose()
        self.assertEqual(stream.closed, 1)
        assert stream.reading is not None
        stream.reading.callback(b"late")
        self.assertEqual(self.client.received(), b"")

    def test_client_gone_and_error(self) -> None:
        stream = self.waiting()
        self.client.get("/v1/snapshot")
        self.client.lose()
        assert stream.reading is not None
        stream.reading.errback(Refused("closed"))
        self.assertEqual(stream.closed, 1)

    def test_breaks_off(self) -> None:
        """Once the head is sent, the end of the connection is all that can tell of an error."""
        stream = self.waiting()
        self.client.get("/v1/snapshot")
        assert stream.reading is not None
        stream.reading.callback(b"x")
        stream.reading.errback(Refused("no more"))
        self.assertTrue(self.client.transport.disconnected)
        self.client.lose()
        self.assertTrue(self.client.received().endswith(b"1\r\nx\r\n"))
        self.assertEqual(stream.closed, 1)

    def test_bug(self) -> None:
        stream = self.waiting()
        self.client.get("/v1/snapshot")
        assert stream.reading is not None
        stream.reading.errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(stream.closed, 1)

    def test_other_server(self) -> None:
        """Any Twisted server can serve it."""
        client: Any = StubTreq(self.site.resource)
        response = self.successResultOf(client.get("http://x/v1/snapshot"))
        self.assertEqual(response.code, 200)
        self.assertEqual(response.headers.getRawHeaders("X-Consul-Index"), ["64"])
        self.assertIsNone(response.headers.getRawHeaders("Server"))
        self.assertEqual(self.successResultOf(client.content(response)), b"abcde")


class RestoreTests(Base):
    def test_archive(self) -> None:
        head, body = self.ask("/v1/snapshot?dc=dc2&token=t", "PUT", b"\x1f\x8barchive")
        self.assertIn(b"HTTP/1.1 200 OK\r\n", head)
        self.assertIn(b"Content-Length: 0", head)
        self.assertNotIn(b"Pyconsul", head)
        self.assertEqual((body, self.agent.restores), (b"", [(b"\x1f\x8barchive", "dc2", "t")]))

    def test_not_everything(self) -> None:
        """What was left out stands in a header, as Consul has no place for it."""
        self.agent.outcome = {"ACL token": 3, "record of kind 99": 1}
        head, body = self.ask("/v1/snapshot", "PUT", b"x")
        self.assertIn(b"X-Pyconsul-Not-Restored: 3 x ACL token, 1 x record of kind 99\r\n", head)
        self.assertEqual(body, b"")

    def test_refused(self) -> None:
        self.agent.outcome = Refused("failed to decompress snapshot: unexpected EOF")
        head, body = self.ask("/v1/snapshot", "PUT", b"junk")
        self.assertIn(b"HTTP/1.1 500 ", head)
        self.assertEqual(body, b"failed to decompress snapshot: unexpected EOF")

    def test_stale(self) -> None:
        head, body = self.ask("/v1/snapshot?stale", "PUT", b"x")
        self.assertIn(b" 500 ", head)
        self.assertEqual((body, self.agent.restores), (b"stale not allowed for restore", []))

    def test_empty(self) -> None:
        """An empty body goes to the servers, too, which say what is wrong with it."""
        self.ask("/v1/snapshot", "PUT")
        self.assertEqual(self.agent.restores, [(b"", "", "")])

    def test_too_large(self) -> None:
        """Refused by its length, before any of it is taken."""
        length = ARCHIVE_BYTES_MAX + 1
        request = f"PUT /v1/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        answer = self.client.send(request.encode())
        self.assertIn(b"HTTP/1.1 413 ", answer)
        self.assertIn(b"max size: 536870912 bytes", answer)


CHUNKED = b"PUT /v1/snapshot HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class FullFile(BytesIO):
    """A file on a disk with room for some bytes."""

    room = 100_000

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


class FileTests(Base):
    """A body that is not small is collected in a file."""

    def files(self, *files: Any) -> list[Any]:
        """What temporary files are from now on; an exception is raised instead."""
        left = list(files)

        def make() -> Any:
            file = left.pop(0)
            if isinstance(file, Exception):
                raise file
            return file

        self.patch(tempfile, "TemporaryFile", make)
        return left

    def chunks(self, *sizes: int) -> bytes:
        return b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in (*sizes, 0))

    def test_length(self) -> None:
        """The file is what is restored; nothing is kept in memory besides."""
        body = bytes(range(256)) * 300
        head, _ = self.ask("/v1/snapshot", "PUT", body)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK"), head)
        self.assertEqual(self.agent.restores, [(body, "", "")])
        self.assertNotIsInstance(self.agent.archive, BytesIO)

    def test_small(self) -> None:
        """A small one needs none."""
        self.files()
        self.ask("/v1/snapshot", "PUT", b"small")
        self.assertEqual(self.agent.restores, [(b"small", "", "")])

    def test_chunks(self) -> None:
        """What came before it was known to be large is in the file, too."""
        self.client.send(CHUNKED + self.chunks(60_000, 60_000, 5))
        self.assertEqual(self.agent.restores, [(b"x" * 120_005, "", "")])
        self.assertNotIsInstance(self.agent.archive, BytesIO)
        self.ask("/v1/snapshot", "PUT", b"the next on this connection")
        self.assertEqual(self.agent.restores[1][0], b"the next on this connection")

    def test_other_routes(self) -> None:
        """They have their bodies in memory, as before."""
        self.files()
        self.client.get("/v1/kv/a", "PUT", b"x" * 70_000)
        self.assertEqual(len(self.agent.asked[0][1].dir_ent.value), 70_000)
        self.client.get("/v1/none", "PUT", b"x" * 70_000)
        self.client.get("/v1/%ff", "PUT", b"x" * 70_000)

    def test_no_room(self) -> None:
        """Whenever that is found out, it is said, and the connection ends."""
        no_file = OSError(13, "Permission denied")
        for data, file, why in (
            (self.chunks(60_000, 60_000), FullFile(), b"No space left on device"),
            (self.chunks(60_000, 5_000, 40_000), FullFile(), b"No space left on device"),
            (self.chunks(60_000, 60_000), no_file, b"Permission denied"),
        ):
            self.serve()
            self.files(file)
            answer = self.client.send(CHUNKED + data)
            self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
            self.assertIn(b"Connection: close", answer)
            self.assertTrue(answer.endswith(b"the request body cannot be stored: " + why), answer)
        self.assertEqual(self.agent.restores, [])

    def test_no_room_at_the_end(self) -> None:
        """What is still buffered may be what does not fit."""

        class Late(BytesIO):
            def seek(self, *where: Any) -> int:
                raise OSError(28, "No space left on device")

        self.files(Late())
        answer = self.client.send(CHUNKED + self.chunks(70_000))
        self.assertTrue(answer.endswith(b"cannot be stored: No space left on device"), answer)

    def test_client_gone(self) -> None:
        """The file goes with it."""
        file = BytesIO()
        self.files(file)
        self.client.send(CHUNKED + self.chunks(60_000, 60_000)[:-5])
        self.assertIs(self.client.channel._file, file)
        self.client.lose()
        self.assertIsNone(self.client.channel._file)
