"""When those who write together are waited for, to go on together."""

from __future__ import annotations


class Patience:
    """Whether the next batch waits for more writes.

    Who is told that a write is done often has the next one ready. A batch that begins at that very moment
    gets none of these, and the batch after it none of those that this one will answer: so two batches take
    turns, each with half of the writers, and there are twice as many as there need be. Therefore the next one
    begins once as many writes have come as were answered, or once no more come. Nothing is waited for
    after a batch of one write or none.

    :param turns: of the reactor in a row that bring nothing: then nothing is waited for any more.
    :ivar waits: the next batch is not to begin yet.
    """

    __slots__ = ("_awaited", "_left", "_seen", "_turns", "waits")

    def __init__(self, turns: int) -> None:
        self.waits = False
        self._turns = turns
        self._left = self._seen = self._awaited = 0

    def begin(self, so_far: int, answered: int) -> bool:
        """Of ``so_far`` writes the last ``answered`` were answered at once; whether to wait."""
        self.waits = answered > 1
        self._left = self._turns
        self._seen = so_far
        self._awaited = so_far + answered
        return self.waits

    def end(self) -> None:
        """The next batch begins."""
        self.waits = False

    def lasts(self, so_far: int) -> bool:
        """Whether to wait on, with ``so_far`` writes that have come."""
        if so_far >= self._awaited:
            self.waits = False
        return self.waits

    def turn(self, so_far: int) -> bool:
        """The same after another turn of the reactor."""
        if so_far > self._seen:
            self._seen = so_far
            self._left = self._turns
        self._left -= 1
        if not self._left:
            self.waits = False
        return self.lasts(so_far)
