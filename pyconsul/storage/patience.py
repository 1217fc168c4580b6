"""When group commit begins its next job."""

from __future__ import annotations

TURNS = 3
"""Turns of the reactor in a row that bring nothing: then nothing is waited for. What a turn reads is in the
log only two turns later, since writes are gathered in between."""


class Patience:
    """Whether the next job waits for more entries.

    Who is told that a write is durable often has the next one ready. A job that begins at that very moment
    gets none of these, and the job after it none of those that this one makes durable: so two jobs take
    turns, each with half of the writers, and the disk works twice as often as it need. Therefore the next job
    begins once as many entries have come as the last one had, or once no more come. Nothing is waited for
    after a job of one entry or none.

    :ivar waits: the next job is not to begin yet.
    """

    __slots__ = ("_awaited", "_seen", "_turns", "waits")

    def __init__(self) -> None:
        self.waits = False
        self._turns = self._seen = self._awaited = 0

    def begin(self, appended: int, durable: int) -> bool:
        """A job is done that made ``durable`` entries durable, of ``appended`` so far; whether to wait."""
        self.waits = durable > 1
        self._turns = TURNS
        self._seen = appended
        self._awaited = appended + durable
        return self.waits

    def end(self) -> None:
        """The next job begins."""
        self.waits = False

    def lasts(self, appended: int) -> bool:
        """Whether to wait on, with ``appended`` entries so far."""
        if appended >= self._awaited:
            self.waits = False
        return self.waits

    def turn(self, appended: int) -> bool:
        """The same after another turn of the reactor."""
        if appended > self._seen:
            self._seen = appended
            self._turns = TURNS
        self._turns -= 1
        if not self._turns:
            self.waits = False
        return self.lasts(appended)
