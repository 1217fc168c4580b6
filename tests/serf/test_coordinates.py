"""Network coordinates (specs of coordinates)."""

from __future__ import annotations

from math import inf, nan
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf.coordinates import ORIGIN, CoordinateClient, NoCoordinates, decode, encode
from pyconsul.structs.coordinate import Coordinate
from pyconsul.swim.wire import DecodeError
from tests.swim.captured import captured


def _of(fields: dict[str, Any]) -> Coordinate:
    return Coordinate(tuple(fields["Vec"]), fields["Error"], fields["Adjustment"], fields["Height"])


class PayloadTests(SynchronousTestCase):
    def test_captured(self) -> None:
        for record in captured("ack-coordinates"):
            payload = bytes.fromhex(record["payload_hex"])
            self.assertEqual(decode(payload), _of(record["coordinate"]))
            self.assertEqual(encode(_of(record["coordinate"])), payload)

    def test_odd_payloads(self) -> None:
        for payload in (b"", b"\x02" + encode(ORIGIN)[1:], b"\x01", b"\x01\xa1x", encode(ORIGIN)[:-1]):
            self.assertRaises(DecodeError, decode, payload)

    def test_captured_distances(self) -> None:
        """What ``consul rtt`` printed for pairs of coordinates."""
        data: Any = captured("coordinate-distance")
        coordinates = data["coordinates"]
        for pair in data["distances"]:
            distance_s = _of(coordinates[pair["a"]]).distance_to(_of(coordinates[pair["b"]]))
            self.assertAlmostEqual(distance_s, pair["expected_seconds"], places=8)
            self.assertIn(f"rtt: {distance_s * 1000:.3f} ms", pair["real_consul_rtt_output"])


class ClientTests(SynchronousTestCase):
    def test_two_nodes_find_their_distance(self) -> None:
        for rtt_s in (0.002, 0.05):
            left, right = CoordinateClient(Random(1)), CoordinateClient(Random(2))
            for _ in range(200):
                left.update("r", right.coordinate, rtt_s)
                right.update("l", left.coordinate, rtt_s)
            found = left.coordinate.distance_to(right.coordinate)
            self.assertLess(abs(found - rtt_s) / rtt_s, 0.001)

    def test_what_is_refused_changes_nothing(self) -> None:
        client = CoordinateClient(Random(1))
        client.update("n", Coordinate(), 0.01)
        before = client.coordinate
        good = (0.0,) * 8
        for other, rtt_s in (
            (Coordinate((nan,) * 8), 0.01), (Coordinate((inf,) + good[1:]), 0.01),
            (Coordinate((0.0,) * 9), 0.01), (Coordinate(good, nan), 0.01),
            (Coordinate(), -0.001), (Coordinate(), 10.1), (Coordinate(), nan),
        ):  # fmt: skip
            self.assertRaises(DecodeError, client.update, "n", other, rtt_s)
        self.assertRaises(DecodeError, client.observe, "n", b"\x05", 0.01)
        self.assertEqual(client.coordinate, before)

    def test_bounds_hold(self) -> None:
        rng = Random(3)
        clients = [CoordinateClient(Random(seed)) for seed in range(6)]
        for _ in range(600):
            one, other = rng.sample(range(6), 2)
            clients[one].observe(str(other), clients[other].payload() or b"", rng.random() * 0.1)
            found = clients[one].coordinate
            self.assertGreaterEqual(found.height, 10e-6)
            self.assertTrue(0 < found.error <= 1.5)

    def test_one_slow_packet_counts_little(self) -> None:
        client = CoordinateClient(Random(1))
        self.assertEqual(client._filtered("n", 5.0), 5.0)
        self.assertEqual(client._filtered("n", 0.01), 5.0)
        self.assertEqual(client._filtered("n", 0.01), 0.01)
        self.assertEqual(client._filtered("n", 9.0), 0.01)

    def test_a_grid(self) -> None:
        """5 by 5 nodes, 10 ms apart: a mean error below 1 %, none above 5 %."""
        rng = Random(4)
        clients = [CoordinateClient(Random(seed)) for seed in range(25)]

        def rtt_s(one: int, other: int) -> float:
            return 0.01 * float(abs((one % 5 - other % 5) + (one // 5 - other // 5) * 1j))

        for _ in range(1000):
            for one in range(25):
                other = (one + rng.randrange(1, 25)) % 25
                clients[one].update(str(other), clients[other].coordinate, rtt_s(one, other))
        errors = [
            abs(clients[one].coordinate.distance_to(clients[other].coordinate) / rtt_s(one, other) - 1)
            for one in range(25) for other in range(one)
        ]  # fmt: skip
        self.assertLess(sum(errors) / len(errors), 0.01)
        self.assertLess(max(errors), 0.05)

    def test_starting_over(self) -> None:
        client = CoordinateClient(Random(1))
        client.coordinate = Coordinate((1e308,) * 8, 1.0, 0.0, 1e308)
        client.update("n", Coordinate((-1e307,) * 8), 0.01)
        self.assertEqual((client.coordinate, client.resets), (ORIGIN, 1))

    def test_forgetting(self) -> None:
        client = CoordinateClient(Random(1))
        for number in range(9000):
            client._samples[f"n{number}"] = [0.01]
        client.update("last", Coordinate(), 0.01)
        self.assertNotIn("n0", client._samples)
        client.forget("last")
        self.assertNotIn("last", client.peers)

    def test_payload_is_encoded_once(self) -> None:
        client = CoordinateClient(Random(1))
        self.assertIs(client.payload(), client.payload())
        self.assertEqual(decode(client.payload() or b""), ORIGIN)
        nothing = NoCoordinates()
        nothing.observe("n", b"x", 1.0)
        nothing.forget("n")
        self.assertIsNone(nothing.payload())

    def test_random_direction(self) -> None:
        class Middle(Random):
            def random(self) -> float:
                return 0.5

        self.assertEqual(CoordinateClient(Middle())._random_direction(), [1.0] + [0.0] * 7)
