"""What a server makes of a log whose newest file ends too early, or is damaged further in.

A cut behind what was synced is what a power cut leaves. Cuts are made anywhere here, also into entries
that were synced and acknowledged, which no honest disk loses: then the entries before the cut have to be
there, and on three servers those behind it come back from the others.
"""

from __future__ import annotations

import os
from random import Random
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.storage.frames import HEADER_BYTES, decode_header, scan
from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

SEED = 20
CUTS = 30
CUTS_OF_THREE = 4
WRITES = 12


class Newest(NamedTuple):
    """The newest file of a server's log. :ivar name: within the data folder."""

    name: str
    path: str
    first: int
    offsets: list[int]
    end: int

    def last_before(self, cut: int) -> int:
        """The last entry that is whole if the file ends at ``cut``."""
        ends = [*self.offsets[1:], self.end]
        return self.first - 1 + sum(end <= cut for end in ends)

    def is_boundary(self, cut: int) -> bool:
        """Whether there is nothing torn at ``cut``."""
        return cut == self.end or cut in self.offsets


def newest(agent: Agent) -> Newest:
    """Read a log that nobody writes to."""
    folder = os.path.join(agent.folder, "data", "raft")
    names = [name for name in os.listdir(folder) if name.endswith(".segment")]
    name = max(names, key=lambda name: name.rpartition("-")[2])
    with open(os.path.join(folder, name), "rb") as file:
        data = file.read()
    header = decode_header(data, name)
    found = scan(data, header, 1 << 60, name)
    return Newest(f"raft/{name}", os.path.join(folder, name), header.first, list(found.offsets), found.end)


class Keys:
    """What was acknowledged, and at which index of the log."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self._test = test
        self._number = 0
        self.indexes: dict[str, int] = {}

    def write(self, agent: Agent, count: int, rng: Random) -> None:
        """Write keys with values of all sizes."""
        for _ in range(count):
            self._number += 1
            key = f"torn/{self._number}"
            value = self.value(key) * rng.choice((1, 1, 40, 900))
            self._test.assertEqual(agent.put(f"kv/{key}", value), b"true")
            self.indexes[key] = agent.get(f"kv/{key}")[0]["ModifyIndex"]

    def value(self, key: str) -> bytes:
        """What is repeated in the value of a key."""
        return key.encode() + b"/"

    def lost(self, agent: Agent) -> set[str]:
        """The keys that are not there with their values."""
        lost = set()
        for key in self.indexes:
            status, body = agent.request("GET", f"kv/{key}?raw&stale")
            if status != 200 or body.replace(self.value(key), b""):
                lost.add(key)
        return lost


class OnlyServerTests(ClusterTestCase):
    block = block(38)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.make("only", f"{self.block}.7", "-server", "-bootstrap-expect", "1")
        self.agents = [self.server]
        self.start()

    def start(self) -> None:
        self.server.start()
        eventually(lambda: self.server.request("GET", "kv/?keys")[0] in (200, 404))  # all is applied

    def test_cuts(self) -> None:
        """After kill -9 and a cut: what lies before the cut is there, the rest is not, the log says so."""
        server, rng, keys = self.server, Random(SEED), Keys(self)
        torn = 0
        for number in range(CUTS):
            keys.write(server, rng.randint(2, WRITES), rng)
            server.kill()
            log = newest(server)
            cut = rng.randint(max(HEADER_BYTES, log.end - 8_000), log.end)
            os.truncate(log.path, cut)
            before = len(server.log())
            self.start()
            last = log.last_before(cut)
            expected = {key for key, index in keys.indexes.items() if index > last}
            self.assertEqual(keys.lost(server), expected, (number, cut))
            for key in expected:
                del keys.indexes[key]
            said = server.log()[before:]
            if not log.is_boundary(cut):
                torn += 1
                self.assertRegex(said, rf"{log.name}: cut at offset \d+, after entry {last}: ")
        self.assertGreater(torn, CUTS // 2)
        self.assertGreater(len(keys.indexes), CUTS)

    def test_damage_further_in(self) -> None:
        """A server that would have to go on without what was durable does not start, and says what to do."""
        server, rng, keys = self.server, Random(SEED), Keys(self)
        keys.write(server, WRITES, rng)
        server.kill()
        log = newest(server)
        with open(log.path, "r+b") as file:
            place = log.offsets[len(log.offsets) // 2]
            file.seek(place + 20)
            byte = file.read(1)
            file.seek(place + 20)
            file.write(bytes([byte[0] ^ 1]))
        before = len(server.log())
        server.start()
        self.assertEqual(server.wait(), 1)
        said = server.log()[before:]
        self.assertIn(f"{log.name}: damaged at offset {place}: entry ", said)
        self.assertIn("empty its data folder", said)
        self.assertIn("snapshot restore", said)
        self.assertNotIn("Traceback", said)


class OneOfThreeTests(ClusterTestCase):
    block = block(39)

    def test_cuts(self) -> None:
        """What a cut takes from one server comes back from the others."""
        self.start_all()
        rng, keys = Random(SEED), Keys(self)
        for _ in range(CUTS_OF_THREE):
            victim = next(server for server in self.servers if server is not self.leader())
            keys.write(self.client, WRITES, rng)
            eventually(lambda: not keys.lost(victim))  # noqa: B023
            victim.kill()
            log = newest(victim)
            cut = rng.randint(HEADER_BYTES, log.end)
            os.truncate(log.path, cut)
            before = len(victim.log())
            victim.start()
            eventually(lambda: not keys.lost(victim))  # noqa: B023
            if not log.is_boundary(cut):
                self.assertRegex(victim.log()[before:], rf"{log.name}: cut at offset \d+, after entry ")
        eventually(lambda: not keys.lost(self.leader()))
