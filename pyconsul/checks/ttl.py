"""Checks that somebody reports to: silence makes them critical."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pyconsul.checks.definition import CheckType
from pyconsul.structs.catalog import CRITICAL

EXPIRED = "TTL expired"


class TtlCheck:
    """One TTL check.

    Over a restart of the agent: keep ``remaining_s`` with state and output, and give both back to
    ``restore`` before ``start``.

    :param notify: called with the check's id, its state and output.
    """

    def __init__(
        self, definition: CheckType, clock: IReactorTime, notify: Callable[[str, str, str], object]
    ) -> None:
        self.definition = definition
        self._clock = clock
        self._notify = notify
        self._timer: IDelayedCall | None = None
        self._first_s = definition.ttl_s
        self._output = ""

    def restore(self, output: str, remaining_s: float) -> None:
        """Go on with a state that was reported before."""
        self._output = output
        self._first_s = min(max(0.0, remaining_s), self.definition.ttl_s)

    def start(self) -> None:
        """Wait for the first report."""
        self._arm(self._first_s)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def report(self, status: str, output: str) -> None:
        """A new state, good for another TTL."""
        self._output = output = self._cut(output)
        self._notify(self.definition.check_id, status, output)
        if self._timer is not None:
            self._timer.reset(self.definition.ttl_s)
        else:
            self._arm(self.definition.ttl_s)

    def remaining_s(self) -> float:
        """For how long the last report is good, in seconds; 0 when it no longer is."""
        if self._timer is None:
            return 0.0
        return max(0.0, self._timer.getTime() - self._clock.seconds())

    def _arm(self, delay_s: float) -> None:
        self._timer = self._clock.callLater(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        output = EXPIRED
        if self._output:
            output = f"{EXPIRED} (last output before timeout follows): {self._output}"
        self._notify(self.definition.check_id, CRITICAL, output)

    def _cut(self, output: str) -> str:
        raw = output.encode()
        size_max = self.definition.output_bytes_max
        if len(raw) <= size_max:
            return output
        kept = raw[:size_max].decode("utf-8", "ignore")
        return f"{kept} ... (captured {size_max} of {len(raw)} bytes)"
