"""A load of writes that remembers what was acknowledged, and the longest time in which nothing was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from http.client import HTTPException

from tests.cluster.processes import Agent, eventually

UNANSWERED_S = 30.0
"""For how long nobody is without an acknowledgement, on a machine that may be very busy.

A write that is never answered takes longer. It is 0.1 s to 5 s where nothing else is to be done.
"""


class Writer:
    """Writes numbered keys one after another and remembers which were acknowledged.

    :ivar gaps_s: the times between two acknowledgements, seconds.
    """

    def __init__(self, agents: Sequence[Agent], prefix: str, timeout_s: float = 40.0) -> None:
        self._agents = agents
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self.acknowledged: list[str] = []
        self.gaps_s: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number, last = 0, time.monotonic()
        while not self._stop.is_set():
            number += 1
            key = f"{self._prefix}/{number}"
            agent = self._agents[number % len(self._agents)]
            try:
                status, body = agent.request("PUT", f"kv/{key}", key.encode(), self._timeout_s)
            except (OSError, HTTPException):  # it is down, or was killed before it answered
                time.sleep(0.01)
                continue
            if (status, body) == (200, b"true"):
                now = time.monotonic()
                self.acknowledged.append(key)
                self.gaps_s.append(now - last)
                last = now

    def stop(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join(self._timeout_s + 3)


class Load:
    """Some writers below one prefix."""

    def __init__(
        self, agents: Sequence[Agent], prefix: str, writers: int = 3, timeout_s: float = 40.0
    ) -> None:
        self._prefix = prefix
        self.writers = [Writer(agents, f"{prefix}/{number}", timeout_s) for number in range(writers)]

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    @property
    def longest_gap_s(self) -> float:
        """The longest time that any writer was without an acknowledgement."""
        return max(gap for writer in self.writers for gap in writer.gaps_s)

    def goes_on(self, more: int = 10, within_s: float = 60.0) -> None:
        """Wait until each writer has written ``more``."""
        goals = [len(writer.acknowledged) + more for writer in self.writers]
        eventually(
            lambda: all(len(w.acknowledged) >= goal for w, goal in zip(self.writers, goals, strict=True)),
            within_s,
        )

    def stop(self) -> None:
        """Write no more."""
        for writer in self.writers:
            writer.stop()

    def lost(self, agent: Agent) -> list[str]:
        """What was acknowledged and is not there."""
        keys = set(eventually(lambda: _listed(agent, f"{self._prefix}/?keys&consistent"), 60.0))
        return [key for writer in self.writers for key in writer.acknowledged if key not in keys]

    def is_on(self, agent: Agent) -> bool:
        """Whether the server's own copy has everything that was acknowledged."""
        keys = set(_listed(agent, f"{self._prefix}/?keys&stale"))
        return all(keys.issuperset(writer.acknowledged) for writer in self.writers)


def _listed(agent: Agent, query: str) -> list[str]:
    status, body = agent.request("GET", f"kv/{query}", timeout_s=30.0)
    return json.loads(body) if status == 200 else []
