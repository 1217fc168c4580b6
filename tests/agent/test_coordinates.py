"""Telling where this node is; writing where all are."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.coordinates import BATCH_ROWS, BATCH_S, CoordinateBatches, CoordinateSender
from pyconsul.errors import NoLeader
from pyconsul.serf.coordinates import CoordinateClient
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.structs.coordinate import (
    Coordinate,
    CoordinateUpdateRequest,
    IndexedCoordinates,
    NodeCoordinate,
)
from pyconsul.structs.query import DCSpecificRequest
from tests.agent.world import World


class SenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[tuple[float, CoordinateUpdateRequest]] = []
        self.nodes = 3
        self.outcome: Any = None
        self.source = CoordinateClient(Random(1))
        self.sender = CoordinateSender(
            self.source, "dc1", "n1", lambda: self.nodes, self._ask, self.clock, Random(2)
        )

    def _ask(self, method: str, request: Any) -> Any:
        assert method == "Coordinate.Update"
        self.sent.append((self.clock.seconds(), request))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def test_when(self) -> None:
        """Every 15 to 30 s; less often in a pool of thousands."""
        self.sender.start()
        self.clock.pump([1.0] * 300)
        times = [0.0, *(when for when, _ in self.sent)]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        self.assertTrue(all(15.0 <= pause <= 31.0 for pause in pauses), pauses)
        self.assertGreater(len(set(pauses)), 1)
        self.nodes = 6400
        self.clock.pump([1.0] * 60)
        self.sent.clear()
        self.clock.pump([1.0] * 600)
        self.assertTrue(2 <= len(self.sent) <= 6, len(self.sent))

    def test_what(self) -> None:
        self.source.coordinate = Coordinate(error=0.5)
        self.sender.start()
        self.clock.advance(31.0)
        (_, request) = self.sent[0]
        self.assertEqual(
            (request.datacenter, request.node, request.coord), ("dc1", "n1", Coordinate(error=0.5))
        )
        self.sender.stop()
        self.sender.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        self.sender.start()
        for outcome in (NoLeader(), fail(NoLeader()), ValueError("a bug")):
            self.outcome = outcome
            self.clock.advance(31.0)
        self.assertEqual(len(self.sent), 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class BatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proposed: list[CoordinateBatch] = []
        self.outcome: Any = None
        self.batches = CoordinateBatches(self._propose, self.clock)

    def _propose(self, command: bytes) -> Deferred[Any]:
        assert command[0] == 6
        self.proposed.append(msgspec.msgpack.decode(command[1:], type=CoordinateBatch))
        return fail(self.outcome) if self.outcome is not None else succeed(None)

    def row(self, node: str, far: float = 0.0, segment: str = "") -> NodeCoordinate:
        return NodeCoordinate(node=node, segment=segment, coord=Coordinate((far,) * 8))

    def test_the_latest_of_each(self) -> None:
        self.batches.gather(self.row("a", 1.0))
        self.clock.advance(BATCH_S - 0.1)
        self.batches.gather(self.row("b"))
        self.batches.gather(self.row("A", 2.0))
        self.batches.gather(self.row("a", 3.0, "x"))
        self.assertEqual(self.proposed, [])
        self.clock.advance(0.2)
        rows = [self.row("A", 2.0), self.row("b"), self.row("a", 3.0, "x")]
        self.assertEqual(self.proposed, [CoordinateBatch(rows)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_than_fit(self) -> None:
        """Five batches at a time; the rest is told again anyhow."""
        for number in range(5 * BATCH_ROWS + 10):
            self.batches.gather(self.row(f"n{number}"))
        self.batches.gather(self.row("n0", 1.0))
        self.clock.advance(BATCH_S)
        self.assertEqual([len(batch.rows) for batch in self.proposed], [BATCH_ROWS] * 5)
        self.assertEqual(self.proposed[0].rows[0], self.row("n0", 1.0))

    def test_no_longer_the_leader(self) -> None:
        self.batches.gather(self.row("a"))
        self.batches.stop()
        self.batches.stop()
        self.clock.advance(60.0)
        self.assertEqual(self.proposed, [])
        self.outcome = NoLeader()
        self.batches.gather(self.row("a"))
        self.clock.advance(BATCH_S)
        self.outcome = ValueError("a bug")
        self.batches.gather(self.row("a"))
        self.clock.advance(BATCH_S)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class WholeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)

    def test_in_the_catalog(self) -> None:
        """Two agents find out how far they are apart, and the servers hear of it."""
        server = self.world.server(1, bootstrap_expect=1, disable_coordinates=False)
        client = self.world.client(2, retry_join=("10.0.0.1",), disable_coordinates=False)
        for agent in (server, client):
            agent.startService()
        self.world.until(lambda: len(server.store.coordinates.all()) == 2, 120.0)
        self.world.run_for(60.0)
        first, second = (row.coord for row in server.store.coordinates.all())
        self.assertTrue(0.001 < first.distance_to(second) < 0.02, first.distance_to(second))
        self.assertEqual(server.ask("Coordinate.ListDatacenters", DCSpecificRequest()), [])  # without WAN
        asked = client.ask("Coordinate.ListNodes", DCSpecificRequest())
        self.world.run_for(1.0)
        reply: IndexedCoordinates = self.successResultOf(asked)
        self.assertEqual([row.node for row in reply.coordinates or ()], ["n1", "n2"])
        self.assertIsNotNone(client.describe()["Coord"])

    def test_switched_off(self) -> None:
        server = self.world.server(1, bootstrap_expect=1)
        server.startService()
        self.world.run_for(90.0)
        self.assertEqual(server.store.coordinates.all(), [])
        self.assertIsNone(server.describe()["Coord"])
        self.assertEqual(server.ask("Coordinate.ListDatacenters", DCSpecificRequest()), [])
