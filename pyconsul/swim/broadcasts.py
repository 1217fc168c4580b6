"""Messages that wait to be passed on, each a limited number of times."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from math import ceil, log10

_Entry = tuple[int, int, int, "Broadcast"]


def retransmit_limit(mult: int, nodes: int) -> int:
    """How often a message is sent in a pool of ``nodes``."""
    return mult * ceil(log10(nodes + 1))


class Broadcast:
    """One message in a queue.

    :ivar about: what the message is about; a newer one about the same replaces it. Empty: nothing.
    :ivar done: called once, when the message will not be sent any more.
    """

    __slots__ = ("about", "done", "message", "number", "transmits")

    def __init__(self, message: bytes, about: str, done: Callable[[], None] | None, number: int) -> None:
        self.message = message
        self.about = about
        self.done = done
        self.transmits = 0
        self.number = number

    def key(self) -> _Entry:
        """Those sent least come first, among them the largest, among them the newest."""
        return (self.transmits, -len(self.message), -self.number, self)


class BroadcastQueue:
    """Messages to spread, in the order in which they should go out.

    :ivar size_max: above this many messages, those sent most are dropped.
    """

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self._order: list[_Entry] = []
        self._by_subject: dict[str, Broadcast] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, message: bytes, about: str = "", done: Callable[[], None] | None = None) -> None:
        """Queue ``message`` in place of an older one about the same."""
        self._number += 1
        broadcast = Broadcast(message, about, done, self._number)
        if about:
            older = self._by_subject.get(about)
            if older is not None:
                del self._order[bisect_left(self._order, older.key())]
                self._finish(older)
            self._by_subject[about] = broadcast
        insort(self._order, broadcast.key())
        while len(self._order) > self.size_max:
            self._finish(self._order.pop()[3])

    def take(self, free: int, overhead: int, limit: int) -> tuple[list[bytes], int]:
        """Messages for one packet and the room that is left.

        :param free: bytes in the packet; each message takes ``overhead`` more than its length.
        :param limit: how often a message is sent before it is dropped.
        """
        taken: list[bytes] = []
        order = self._order
        sent: list[Broadcast] = []
        position = 0
        while position < len(order) and free > overhead:
            transmits = order[position][0]
            position = bisect_left(order, (transmits, overhead - free, -self._number))
            if position == len(order):
                break
            if order[position][0] != transmits:  # none that often sent fits
                continue
            broadcast = order.pop(position)[3]
            free -= len(broadcast.message) + overhead
            taken.append(broadcast.message)
            sent.append(broadcast)
        for broadcast in sent:
            broadcast.transmits += 1
            if broadcast.transmits >= limit:
                self._finish(broadcast)
            else:
                insort(order, broadcast.key())
        return taken, free

    def clear(self) -> None:
        """Drop all messages."""
        while self._order:
            self._finish(self._order.pop()[3])

    def _finish(self, broadcast: Broadcast) -> None:
        if self._by_subject.get(broadcast.about) is broadcast:
            del self._by_subject[broadcast.about]
        if broadcast.done is not None:
            broadcast.done()
