"""What ``peers.json`` may say, and when it is looked at."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.storage.peers_file import EXPLANATION, FILE_BYTES_MAX, PeersFile, parse, with_ids
from pyconsul.testing.disk import SimDisk

A, B = "10.0.0.1:8300", "10.0.0.2:8300"


class ParseTests(SynchronousTestCase):
    def refused(self, data: bytes, reason: str) -> None:
        with self.assertRaises(ValueError) as caught:
            parse(data)
        self.assertIn(reason, str(caught.exception))

    def test_objects(self) -> None:
        """Ids, addresses and votes; the case of keys does not matter, and unknown ones are named."""
        data = (
            b'[{"id": "a", "address": "10.0.0.1:8300"}, '
            b'{"ID": "b", "Address": "10.0.0.2:8300", "Non_Voter": true, "Node": "s2"}]'
        )
        peers = parse(data)
        self.assertEqual(peers.servers, [Server("a", A), Server("b", B, NONVOTER)])
        self.assertEqual(peers.ignored, ["Node"])

    def test_addresses(self) -> None:
        peers = parse(b'["10.0.0.1:8300", "[::1]:8300"]')
        self.assertEqual(peers.servers, [Server("", A), Server("", "[::1]:8300")])

    def test_not_json(self) -> None:
        self.refused(b"", "truncated")
        self.refused(b'[{"id":', "truncated")
        self.refused(b"[a]", "malformed")
        self.refused(b" " * (FILE_BYTES_MAX + 1), "more than")

    def test_not_servers(self) -> None:
        self.refused(b"{}", "is not a list of servers")
        self.refused(b"[7]", "entry 1 is neither an address nor an object")
        self.refused(b'["10.0.0.1:8300", {"id": "b", "address": "10.0.0.2:8300"}]', "has both addresses")
        self.refused(b'["10.0.0.1"]', "'10.0.0.1' is not an address with a port")
        self.refused(b'["10.0.0.1:99999"]', "is not an address with a port")
        self.refused(b'[{"id": 7, "address": "10.0.0.1:8300"}]', "of entry 1 have to be texts")
        self.refused(b'[{"id": "a", "address": "10.0.0.1:8300", "non_voter": 1}]', "true or false")

    def test_no_configuration(self) -> None:
        """What makes no configuration is refused with Consul's reasons."""
        self.refused(b"[]", "need at least one voter in configuration")
        self.refused(b'[{"address": "10.0.0.1:8300"}]', "empty ID in configuration")
        self.refused(b'[{"id": "a"}]', "empty address in configuration for server a")
        one = b'{"id": "a", "address": "10.0.0.1:8300"}'
        self.refused(b"[%b, %b]" % (one, one), "found duplicate ID in configuration: a")
        other = b'{"id": "b", "address": "10.0.0.1:8300"}'
        self.refused(b"[%b, %b]" % (one, other), f"found duplicate address in configuration: {A}")
        self.refused(b"[%b]" % one.replace(b"}", b', "non_voter": true}'), "need at least one voter")


class IdsTests(SynchronousTestCase):
    def test_known(self) -> None:
        found = with_ids([Server("", A), Server("", B)], {A: "a", B: "b", "10.0.0.3:8300": "c"})
        self.assertEqual(found, Configuration([Server("a", A), Server("b", B)]))

    def test_unknown(self) -> None:
        """A minority may be unknown: such a one goes by its address until gossip shows it."""
        third = "10.0.0.3:8300"
        found = with_ids([Server("", A), Server("", B), Server("", third)], {A: "a", B: "b"})
        self.assertEqual(found.servers[2], Server(third, third))
        with self.assertRaises(ValueError) as caught:
            with_ids([Server("", A), Server("", B)], {A: "a"})
        self.assertIn(f"nothing is known of {B}", str(caught.exception))

    def test_duplicate(self) -> None:
        with self.assertRaises(ValueError) as caught:
            with_ids([Server("", A), Server("", A)], {A: "a"})
        self.assertIn("found duplicate ID", str(caught.exception))


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimDisk(Clock(), Random(1), lambda rng: 0.0)
        self.disk.make_folder("raft")
        self.disk.sync_folder("")
        self.peers = PeersFile(self.disk, "raft")

    def write(self, data: bytes) -> None:
        file = self.disk.open("raft/peers.json", create=True)
        file.write((data,), 0)
        file.sync()
        self.disk.sync_folder("raft")

    def test_first_start(self) -> None:
        """What is there is removed unread, and durably so; an explanation is left."""
        self.write(b"[]")
        self.assertIsNone(self.peers.read())
        self.disk.crash()
        self.assertEqual(self.disk.list("raft"), ["peers.info"])
        file = self.disk.open("raft/peers.info")
        self.assertEqual(file.read(file.size(), 0), EXPLANATION)

    def test_first_start_is_cut_short(self) -> None:
        """Whenever that happens, the file is not read at the next start either."""
        operations = 0
        while True:
            self.setUp()
            self.write(b"[]")
            done = self.disk.cut_short(self.peers.read, operations)
            self.disk.crash()
            self.assertIsNone(self.peers.read())
            self.assertEqual(self.disk.list("raft"), ["peers.info"])
            if done:
                break
            operations += 1
        self.assertGreater(operations, 5)

    def test_later(self) -> None:
        """It is read, and stays until it was taken."""
        self.assertIsNone(self.peers.read())
        self.assertIsNone(self.peers.read())
        self.write(b"[]")
        self.assertEqual(self.peers.read(), b"[]")
        self.assertEqual(self.peers.read(), b"[]")
        self.peers.remove()
        self.disk.crash()
        self.assertIsNone(self.peers.read())
