"""Telling the servers where this node is, and on the leader, writing down where all nodes are.

Source: specs of coordinates, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.log import make_logger
from pyconsul.serf.coordinates import CoordinateClient
from pyconsul.state import commands
from pyconsul.structs.coordinate import CoordinateUpdateRequest, NodeCoordinate

INTERVAL_MIN_S = 15.0
UPDATES_PER_S = 64.0
"""How many nodes of one datacenter tell where they are each second."""

BATCH_S = 5.0
BATCH_DEV_S = 0.1
BATCH_ROWS = 128
BATCHES_MAX = 5


class CoordinateSender:
    """Tells the servers where this node is, every quarter of a minute or, in large pools, less often.

    :param nodes: how many members the pool has.
    :param ask: how endpoints are called.
    """

    def __init__(
        self,
        source: CoordinateClient,
        datacenter: str,
        node: str,
        nodes: Callable[[], int],
        ask: Callable[[str, Any], Any],
        clock: IReactorTime,
        rng: Random,
    ) -> None:
        self._log = make_logger("agent")
        self._source = source
        self._datacenter, self._node = datacenter, node
        self._nodes = nodes
        self._ask = ask
        self._clock = clock
        self._rng = rng
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin; the first time is due after one interval."""
        interval_s = max(INTERVAL_MIN_S, self._nodes() / UPDATES_PER_S)
        self._call = self._clock.callLater(interval_s * (1.0 + self._rng.random()), self._send)

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _send(self) -> None:
        self.start()
        request = CoordinateUpdateRequest(
            datacenter=self._datacenter, node=self._node, coord=self._source.coordinate
        )
        maybeDeferred(self._ask, "Coordinate.Update", request).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, PyconsulError):
            self._log.failure("telling the coordinate failed", failure=failure)
        elif self._call is not None:
            self._log.warn("Coordinate update error: {error}", error=failure.value)


class CoordinateBatches:
    """Gathers what nodes tell and writes it a batch at a time, so that the log stays short.

    :param propose: appends a log command; fires once it is applied.
    """

    def __init__(
        self, propose: Callable[[bytes], Deferred[Any]], clock: IReactorTime, period_s: float = BATCH_S
    ) -> None:
        self._log = make_logger("agent.coordinate")
        self._propose = propose
        self._clock = clock
        self._period_s = period_s
        self._rows: dict[tuple[str, str], NodeCoordinate] = {}
        self._discarded = 0
        self._call: IDelayedCall | None = None

    def gather(self, row: NodeCoordinate) -> None:
        """Keep a row; only the latest of a node counts."""
        key = (row.node.lower(), row.segment)
        if key not in self._rows and len(self._rows) >= BATCHES_MAX * BATCH_ROWS:
            self._discarded += 1
            return
        self._rows[key] = row
        if self._call is None:
            self._call = self._clock.callLater(self._period_s, self._write)

    def stop(self) -> None:
        """This server does not lead any more: the next leader will be told anew."""
        self._rows.clear()
        self._discarded = 0
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _write(self) -> None:
        self._call = None
        if self._discarded:
            self._log.warn("Discarded coordinate updates: number_discarded={count}", count=self._discarded)
        rows, self._rows, self._discarded = [*self._rows.values()], {}, 0
        for start in range(0, len(rows), BATCH_ROWS):
            command = commands.encode_coordinates(rows[start : start + BATCH_ROWS])
            self._propose(command).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, PyconsulError):
            self._log.warn("Batch update failed: error={error}", error=failure.value)
        else:
            self._log.failure("writing coordinates failed", failure=failure)
