"""What a run of a check found out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class Outcome(NamedTuple):
    """A state (``passing``, ``warning``, ``critical``) and what there is to say about it."""

    status: str
    output: str


class Probe(Protocol):
    """Finds out a state, once for each call."""

    def run(self) -> Deferred[Outcome]:
        """Fires with the outcome. Cancelling it ends the attempt, and frees what it holds."""
        ...

    def timed_out(self) -> Outcome:
        """The outcome of a run that was cancelled because it took too long."""
        ...


class Tail:
    """The last bytes of an output that may be long."""

    __slots__ = ("_bytes_max", "_kept", "total")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = bytearray()
        self.total = 0

    def write(self, data: bytes) -> None:
        """More output."""
        self.total += len(data)
        kept = self._kept
        kept += data[-self._bytes_max :]
        if len(kept) > 2 * self._bytes_max:
            del kept[: len(kept) - self._bytes_max]

    def text(self) -> str:
        """What is kept; bytes that are no UTF-8 are replaced."""
        return bytes(self._kept[-self._bytes_max :]).decode("utf-8", "replace")

    def captured(self) -> str:
        """The same, with a line before it if there was more."""
        if self.total <= self._bytes_max:
            return self.text()
        return f"Captured {self._bytes_max} of {self.total} bytes\n...\n{self.text()}"
