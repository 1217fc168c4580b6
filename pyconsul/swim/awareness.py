"""How well this node itself seems to be doing (Lifeguard, Local Health Multiplier)."""

from __future__ import annotations


class Awareness:
    """A score from 0 (healthy) to ``largest``; probes take ``score + 1`` times as long."""

    __slots__ = ("_largest", "score")

    def __init__(self, largest: int) -> None:
        self.score = 0
        self._largest = largest

    def add(self, delta: int) -> None:
        """Move the score within its bounds."""
        self.score = min(max(self.score + delta, 0), self._largest)

    def scale(self, timeout_s: float) -> float:
        """``timeout_s`` as long as this node's health asks for."""
        return timeout_s * (self.score + 1)
