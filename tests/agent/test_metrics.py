"""``/v1/agent/metrics``: what there is to measure."""

from __future__ import annotations

from unittest import mock

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.metric_names import METRICS, render
from pyconsul.agent.metrics import INTERVAL_S, PUSH_S, Filter, Period, Telemetry, resident_bytes
from pyconsul.structs.metrics import Durations


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

    def test_timings(self) -> None:
        """Those of the last full interval; what did not happen is left out."""
        timings = {"kvs.apply": Durations(), "txn.apply": Durations()}
        telemetry = self.telemetry()
        telemetry.timings.append(timings)
        telemetry.start()
        for ms in (1.0, 2.0, 6.0):
            timings["kvs.apply"].add(ms)
        self.assertEqual(telemetry.show().samples, [])
        self.clock.advance(INTERVAL_S)
        timings["kvs.apply"].add(100.0)
        (sample,) = telemetry.show().samples
        self.assertEqual((sample.name, sample.count, sample.sum), ("consul.kvs.apply", 3, 9.0))
        self.assertEqual((sample.rate, sample.min, sample.max, sample.mean), (0.9, 1.0, 6.0, 3.0))
        self.assertAlmostEqual(sample.stddev, 2.6457513)
        self.clock.advance(INTERVAL_S)
        self.assertEqual([one.sum for one in telemetry.show().samples], [100.0])
        self.clock.advance(INTERVAL_S)
        self.assertEqual(telemetry.show().samples, [])

    def test_sinks(self) -> None:
        """They hear of each second what happened in it, and the intervals are as long as without them."""
        told: list[Period] = []
        durations = Durations()
        telemetry = self.telemetry()
        telemetry.timings.append({"kvs.apply": durations})
        telemetry.sinks.append(told.append)
        telemetry.start()
        for second in range(10):
            self.assertEqual(telemetry.show().counters, [])
            self.total += 1
            durations.add(float(second))
            self.clock.advance(PUSH_S)
        self.assertEqual([period.counters for period in told], [{"raft.apply": 1.0}] * 10)
        self.assertEqual([period.timings["kvs.apply"].sum for period in told], [float(n) for n in range(10)])
        self.assertEqual(told[0].gauges["raft.last_index"], 7.0)
        self.assertEqual([one.count for one in telemetry.show().counters], [10])
        (sample,) = telemetry.show().samples
        self.assertEqual((sample.count, sample.min, sample.max), (10, 0.0, 9.0))

    def test_filter(self) -> None:
        """What nobody wants to hear of is nowhere."""
        telemetry = self.telemetry()
        telemetry.timings.append({"kvs.apply": (durations := Durations())})
        telemetry.filter = Filter(("-consul.kvs", "-consul.raft.apply", "-consul.runtime"), True)
        telemetry.start()
        self.total += 1
        durations.add(1.0)
        self.clock.advance(INTERVAL_S)
        shown = telemetry.show()
        self.assertEqual((shown.counters, shown.samples), ([], []))
        self.assertEqual([gauge.name for gauge in shown.gauges], ["consul.raft.last_index"])

    def test_memory(self) -> None:
        """0 where the system does not say."""
        self.assertGreater(resident_bytes(), 1 << 20)
        with mock.patch("builtins.open", side_effect=FileNotFoundError):
            self.assertEqual(resident_bytes(), 0)
        with mock.patch("builtins.open", mock.mock_open(read_data="Name: x\n")):
            self.assertEqual(resident_bytes(), 0)


class FilterTests(SynchronousTestCase):
    def test_longest_prefix(self) -> None:
        """It decides, whatever the order; the default is for what none fits."""
        for default in (True, False):
            for prefixes in (("-a", "+a.b", "-a.b.c"), ("-a.b.c", "+a.b", "-a")):
                found = Filter(prefixes, default)
                self.assertEqual(
                    [found.allows(name) for name in ("a.x", "a.b", "a.b.x", "a.b.c.d", "b")],
                    [False, True, True, False, default],
                )

    def test_no_rules(self) -> None:
        """Nothing is kept from anybody, and what is no rule means nothing."""
        self.assertTrue(Filter((), True).allows("a"))
        self.assertTrue(Filter(("a", ""), True).allows("a"))


class DurationsTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        """What did not happen has no mean that is worth anything."""
        durations = Durations()
        self.assertEqual((durations.count, durations.mean, durations.deviation), (0, 0.0, 0.0))

    def test_several_at_once(self) -> None:
        """A batch counts for each of its parts."""
        durations = Durations()
        durations.add(2.0, 3)
        durations.add(6.0)
        self.assertEqual((durations.count, durations.sum, durations.mean), (4, 12.0, 3.0))
        self.assertEqual((durations.min, durations.max, durations.deviation), (2.0, 6.0, 2.0))

    def test_at_once(self) -> None:
        """What took no time counts, once it is taken."""
        durations = Durations()
        durations.add(4.0)
        durations.at_once += 3
        taken = durations.take()
        self.assertEqual((taken.count, taken.sum, taken.min, taken.max), (4, 4.0, 0.0, 4.0))
        self.assertEqual((durations.take().count, durations.at_once), (0, 0))


class NamesTests(SynchronousTestCase):
    def test_reference(self) -> None:
        """Each name once, with its kind and meaning."""
        names = [metric.name for metric in METRICS]
        self.assertEqual(len(set(names)), len(names))
        page = render()
        for metric in METRICS:
            self.assertIn(f"``{metric.name}``\n    {metric.doc}\n\n    *{metric.kind}*", page)
            self.assertTrue(metric.doc.endswith("."), metric.name)
