"""Servers are killed at any moment under a load of writes: nothing that was acknowledged is lost.

``PYCONSUL_KILLS`` is how many kills there are and ``PYCONSUL_KILLS_SEED`` which ones, so::

    PYCONSUL_KILLS=100 python -m twisted.trial tests.cluster.test_kills

is the long run.
"""

from __future__ import annotations

import os
import signal
import time
from random import Random

from tests.cluster.processes import Agent, ClusterTestCase, block, eventually
from tests.cluster.writing import Load

KILLS = int(os.environ.get("PYCONSUL_KILLS", "12"))
SEED = int(os.environ.get("PYCONSUL_KILLS_SEED", "1"))
SNAPSHOTS = 'raft_snapshot_threshold = 2000 raft_snapshot_interval = "2s" raft_trailing_logs = 500'
KINDS = ("leader", "follower", "all")


class KillTests(ClusterTestCase):
    block = block(40)

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        own = ("-hcl", SNAPSHOTS) if "-server" in arguments else ()
        return super().make(name, ip, *own, *arguments)

    def test_kills(self) -> None:
        """The leader, a follower, all of them: whichever, and whenever."""
        rng = Random(SEED)
        self.start_all()
        load = Load([*self.servers, self.client], "w", timeout_s=8.0)
        load.goes_on()
        counts = dict.fromkeys(KINDS, 0)
        for number in range(KILLS):
            kind = KINDS[number % 3] if number < 3 else rng.choice(KINDS)
            counts[kind] += 1
            time.sleep(rng.uniform(0.0, 0.7))  # a moment, not a wait for anything
            self.kill_and_start(kind, rng, load)
        load.goes_on()
        load.stop()
        self.assertEqual(load.lost(self.client), [])
        for server in self.servers:
            eventually(lambda server=server: load.is_on(server), 60.0)  # type: ignore[misc]
        self.say(counts, load)

    def say(self, counts: dict[str, int], load: Load) -> None:
        """The figures of a long run."""
        if "PYCONSUL_KILLS" in os.environ:
            print(f"\nseed {SEED}: killed {counts}, {load.count} writes acknowledged, none lost;", end=" ")
            print(f"longest without an acknowledgement {load.longest_gap_s:.1f} s")

    def kill_and_start(self, kind: str, rng: Random, load: Load) -> None:
        """With a majority left it goes on before the killed one is back."""
        victims = list(self.servers)
        if kind != "all":
            leader = self.leader()
            victims = (
                [leader] if kind == "leader" else [rng.choice([s for s in self.servers if s is not leader])]
            )
        rng.shuffle(victims)
        for victim in victims:
            time.sleep(rng.uniform(0.0, 0.05))
            victim.kill(signal.SIGKILL)
        if kind != "all":
            load.goes_on(3)
        for victim in victims:
            victim.start()
        for victim in victims:
            eventually(lambda v=victim: v.get("status/leader"))  # type: ignore[misc]
        load.goes_on(3)
