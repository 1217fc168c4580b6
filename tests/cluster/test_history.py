"""A recorded history of many clients is linearizable, and watchers end with the final state.

Meanwhile leaders are killed and started again, followers too, and leadership is handed over.
``PYCONSUL_HISTORY`` is how many operations there are, ``PYCONSUL_HISTORY_SEED`` which, so::

    PYCONSUL_HISTORY=100000 python -m twisted.trial tests.cluster.test_history

is the long run.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial

from pyconsul.testing import linearizability, stale
from pyconsul.testing.history import NEVER, STALE
from tests.cluster.history import LASTING, Client, Recording, Server, Watcher, lasting
from tests.cluster.processes import ClusterTestCase, block, eventually

OPERATIONS = int(os.environ.get("PYCONSUL_HISTORY", "5000"))
SEED = int(os.environ.get("PYCONSUL_HISTORY_SEED", "1"))
CLIENTS = 16
BETWEEN = 1_200
"""Operations between two things that happen to the cluster."""
DOWN = 200
"""And while somebody is down."""
WHAT = ("kill the leader", "hand over", "kill a follower")
PREFIX = "kv/h/lasting/?recurse"


class HistoryTests(ClusterTestCase):
    block = block(44)

    def test_history(self) -> None:
        """Consistent and default reads and all writes fit one order; nobody misses the last change."""
        self.start_all()
        servers = [Server(agent, agent is not self.client) for agent in self.agents]
        watchers = [Watcher(servers[n % 4], f"kv/{lasting(n)}") for n in range(LASTING)]
        watchers += [Watcher(server, PREFIX) for server in servers]
        recording = Recording()
        begun = time.monotonic()
        clients = [Client(number, SEED, servers, recording) for number in range(CLIENTS)]
        happened = self.disturb(recording, servers[:3])
        recorded(recording, OPERATIONS)
        recording.finished = True
        for client in clients:
            client.join(60)
            self.assertFalse(client.is_alive())
        lasted_s = time.monotonic() - begun
        self.see_the_end(watchers)
        self.check(recording, happened, lasted_s)

    def disturb(self, recording: Recording, servers: list[Server]) -> Counter[str]:
        """Something happens every so many operations, and each thing once at least."""
        happened: Counter[str] = Counter()
        while len(happened) < len(WHAT) or len(recording.history) < OPERATIONS - BETWEEN:
            recorded(recording, len(recording.history) + BETWEEN)
            what = WHAT[happened.total() % len(WHAT)]
            if what == "hand over":
                eventually(self.hand_over)
            else:
                leader = self.leader()
                wanted = what == "kill the leader"
                self.restart(recording, next(s for s in servers if (s.agent is leader) == wanted))
            happened[what] += 1
        return happened

    def hand_over(self) -> bool:
        """Whether the leader has made another one lead, which may take a busy one too long."""
        return self.leader().put("operator/raft/transfer-leader") == b'{"Success":true}'

    def restart(self, recording: Recording, victim: Server) -> None:
        """Kill one; the others go on, and then it comes back."""
        victim.kill()
        recorded(recording, len(recording.history) + DOWN)
        victim.start()
        eventually(lambda: victim.agent.get("status/leader"))

    def see_the_end(self, watchers: list[Watcher]) -> None:
        """All watchers come to show what a consistent read shows, long before their waits end."""
        for watcher in watchers:
            mark = "&" if "?" in watcher.path else "?"
            query = f"{watcher.path}{mark}consistent"
            (final,) = eventually(partial(self.told, query))
            eventually(partial(lambda w, body: w.body == body, watcher, final))
            watcher.stopped = True
            self.assertGreater(watcher.answers, 3)

    def told(self, query: str) -> list[bytes]:
        """A good answer, whose body may be empty, or none."""
        status, body = self.client.request("GET", query)
        return [body] if status in (200, 404) else []

    def check(self, recording: Recording, happened: Counter[str], lasted_s: float) -> None:
        """Nothing that clients were told is against one order of all operations."""
        history = recording.history
        begun = time.monotonic()
        violation = linearizability.check(history)
        self.assertIsNone(violation, str(violation))
        reads = sum(o.mode == STALE and o.returned != NEVER for o in history)
        self.assertIsNone(stale.check(history))
        unknown = sum(o.returned == NEVER for o in history)
        self.assertGreater(len(history) - unknown, OPERATIONS * 0.9)
        if "PYCONSUL_HISTORY" in os.environ:
            kinds = Counter(operation.mode or operation.kind for operation in history)
            print(f"\nseed {SEED}: {len(history)} operations of {CLIENTS} clients in {lasted_s:.0f} s,")
            print(f"{dict(kinds)}, {unknown} of unknown outcome, {reads} stale; {dict(happened)};", end=" ")
            print(f"linearizable, checked in {time.monotonic() - begun:.1f} s")


def recorded(recording: Recording, count: int) -> None:
    """Wait until the history has so many operations."""
    eventually(lambda: len(recording.history) >= count, 180.0, 0.01)
