"""A server that an operator gives a configuration: ``peers.json`` from the disk to the Raft core."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from twisted.internet.task import Clock

from pyconsul.agent.machine import pieces
from pyconsul.errors import ConfigurationError
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.messages import COMMAND, RESTORE, AppendEntries, Entry
from pyconsul.state import commands
from pyconsul.testing.disk import SimDisk
from tests.agent.fixture import put
from tests.agent.test_machine import state
from tests.agent.test_restoring import DiskTestCase

ADDRESS = "10.0.0.0:8300"
ALONE = Configuration([Server("a", ADDRESS)])
TERM = 3


class RecoveryTests(DiskTestCase):
    """``a`` of three servers has entries of ``b``'s, some of which ``b`` never committed."""

    servers = 3

    def setUp(self) -> None:
        self.begin()

    def begin(self, seed: int = 1) -> None:
        """The first life, up to the outage."""
        self.disk = SimDisk(Clock(), Random(seed), lambda rng: 0.001)
        self.start()
        self.before = self.replica.core.configuration
        self.send([Entry(TERM, n, COMMAND, commands.encode_kv(put(f"k{n}", b"v"))) for n in range(2, 8)])
        self.end()

    def send(self, entries: list[Entry]) -> None:
        """From the leader ``b``, which has committed up to 4."""
        prev = entries[0].index - 1
        term = self.replica.core.log.term_at(prev) or 0
        self.transport.received("b", AppendEntries(TERM, prev, term, 4, entries, "10.0.0.1:8300"))
        self.run_for(1.0)

    def end(self) -> None:
        self.replica.stop()
        self.run_for(1.0)

    def write_peers(self, rows: Any) -> None:
        file = self.disk.open("raft/peers.json", create=True)
        data = rows if isinstance(rows, bytes) else msgspec.json.encode(rows)
        file.truncate(0)
        file.write((data,), 0)
        file.sync()
        self.disk.sync_folder("raft")

    def keys(self) -> list[str]:
        return [row.key for row in self.store.kv.under("")[1]]

    def check_recovered(self, index: int = 7) -> None:
        core = self.replica.core
        self.assertEqual(core.configuration, ALONE)
        self.assertEqual((core.last_log_index, core.last_log_term), (index, TERM))
        self.assertEqual(self.keys(), [f"k{n}" for n in range(2, 8)])

    def test_addresses(self) -> None:
        """All of the log counts, whether it was committed or not, and this server leads alone."""
        self.write_peers([ADDRESS])
        self.start()
        self.check_recovered_and_leads()

    def check_recovered_and_leads(self) -> None:
        self.assertTrue(self.replica.ready)
        self.assertEqual(self.replica.core.configuration, ALONE)
        self.assertEqual(self.keys(), [f"k{n}" for n in range(2, 8)])
        self.assertNotIn("peers.json", self.disk.list("raft"))

    def test_objects(self) -> None:
        self.write_peers([{"id": "a", "address": ADDRESS}])
        self.start(run=False)
        self.check_recovered()
        info = self.replica.core.snapshot
        assert info is not None
        self.assertEqual((info.index, info.term, info.configuration, info.by_hand), (7, TERM, ALONE, True))
        self.assertEqual(self.replica.core.log.base_index, 7)
        self.replica.start()
        self.end()
        self.start()
        self.check_recovered_and_leads()

    def test_other_addresses(self) -> None:
        """Of servers in an earlier configuration by their ids; this server's own may be a new one."""
        self.write_peers(["10.0.0.9:8300", "10.0.0.2:8300"])
        self.assertRaises(ConfigurationError, self.start, run=False)
        self.address = "10.0.0.9:8300"
        self.start(run=False)
        servers = [Server("a", "10.0.0.9:8300"), Server("c", "10.0.0.2:8300")]
        self.assertEqual(self.replica.core.configuration, Configuration(servers))

    def test_without_this_server(self) -> None:
        self.write_peers([{"id": "b", "address": "10.0.0.1:8300", "node": "s2"}])
        self.start()
        self.assertFalse(self.replica.is_leader)

    def test_wrong(self) -> None:
        """The file is named, and nothing was changed."""
        self.write_peers(b"[")
        with self.assertRaises(ConfigurationError) as caught:
            self.start(run=False)
        self.assertIn("recovery failed to parse peers.json: Input data was truncated", str(caught.exception))
        self.assertIn("peers.json", self.disk.list("raft"))
        self.disk.remove("raft/peers.json")
        self.start(run=False)
        self.assertEqual(self.replica.core.configuration, self.before)

    def test_no_state(self) -> None:
        """A server that never was in a cluster has nothing to go on from."""
        self.disk = SimDisk(Clock(), Random(1), lambda rng: 0.001)
        self.start(run=False)
        self.write_peers([ADDRESS])
        with self.assertRaises(ConfigurationError) as caught:
            self.start(run=False)
        self.assertIn("no Raft state to recover", str(caught.exception))

    def test_same_index_again(self) -> None:
        """The later of two recoveries counts, also when the clock went back."""
        self.write_peers([ADDRESS])
        self.start(run=False)
        self.write_peers([{"id": "a", "address": "10.0.0.9:8300"}])
        self.start(run=False)
        self.start(run=False)
        self.assertEqual(self.replica.core.configuration, Configuration([Server("a", "10.0.0.9:8300")]))

    def test_restore_under_way(self) -> None:
        """A user's restore that never ended changes nothing."""
        self.start()
        some = list(pieces(state(5, 6000).snapshot()))[:1]
        self.send([Entry(TERM, 8, RESTORE, some[0])])
        self.end()
        self.write_peers([ADDRESS])
        self.start(run=False)
        self.check_recovered(8)

    def test_cut_short(self) -> None:
        """Whenever the power goes, there is the old configuration or the new one, with all of the state."""
        for keeps_file in (False, True):
            operations, done = 0, False
            seen = set()
            while not done:
                self.begin(operations + 1)
                self.write_peers([ADDRESS])
                done = self.disk.cut_short(lambda: self.start(run=False), operations)
                self.disk.crash()
                if "peers.json" in self.disk.list("raft") and not keeps_file:
                    self.disk.remove("raft/peers.json")
                self.start(run=False)
                found = self.replica.core.configuration
                self.assertIn(found, [ALONE] if keeps_file else [ALONE, self.before])
                seen.add(found == ALONE)
                if found == ALONE:
                    self.check_recovered()
                else:
                    self.assertEqual(self.replica.core.last_log_index, 7)
                operations += 1
            self.assertEqual(seen, {True} if keeps_file else {True, False})
