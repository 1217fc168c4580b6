"""``/v1/agent/metrics``: what there is to measure."""

from __future__ import annotations

from unittest import mock

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.metrics import INTERVAL_S, Telemetry, resident_bytes


class TelemetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.total = 5.0

    def telemetry(self, prefix: str = "consul") -> Telemetry:
        return Telemetry(
            prefix,
            lambda: {"raft.last_index": 7.0},
            lambda: {"raft.apply": self.total, "idle": 3.0},
            self.clock,
            lambda: 1_795_558_300.9,
        )

    def test_gauges(self) -> None:
        """Values as they are now, by name, in the shape that Consul gives."""
        shown = self.telemetry().show()
        self.assertEqual(shown.timestamp, "2026-11-24 22:11:40 +0000 UTC")
        gauges = {gauge.name: gauge.value for gauge in shown.gauges}
        self.assertEqual(gauges["consul.raft.last_index"], 7.0)
        self.assertGreater(gauges["consul.runtime.num_goroutines"], 0)
        self.assertEqual(list(gauges), sorted(gauges))
        encoded = msgspec.json.decode(msgspec.json.encode(shown))
        self.assertEqual(list(encoded), ["Timestamp", "Gauges", "Points", "Counters", "Samples"])
        self.assertEqual(set(encoded["Gauges"][0]), {"Name", "Value", "Labels"})

    def test_prefix(self) -> None:
        """Names may begin with something else, or with nothing."""
        self.assertIn("raft.last_index", [gauge.name for gauge in self.telemetry("").show().gauges])

    def test_counters(self) -> None:
        """What grew in the last full interval; what did not is left out."""
        telemetry = self.telemetry()
        telemetry.start()
        self.total += 4
        self.assertEqual(telemetry.show().counters, [])
        self.clock.advance(INTERVAL_S)
        self.total += 100
        (counter,) = telemetry.show().counters
        self.assertEqual((counter.name, counter.count, counter.rate), ("consul.raft.apply", 4, 0.4))
        self.assertEqual((counter.sum, counter.min, counter.max, counter.mean), (4.0, 1, 1, 1))
        self.clock.advance(INTERVAL_S)
        self.assertEqual([one.count for one in telemetry.show().counters], [100])
        telemetry.stop()
        telemetry.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_memory(self) -> None:
        """0 where the system does not say."""
        self.assertGreater(resident_bytes(), 1 << 20)
        with mock.patch("builtins.open", side_effect=FileNotFoundError):
            self.assertEqual(resident_bytes(), 0)
        with mock.patch("builtins.open", mock.mock_open(read_data="Name: x\n")):
            self.assertEqual(resident_bytes(), 0)
