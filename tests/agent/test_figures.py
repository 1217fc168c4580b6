"""What real agents measure of themselves, over a network in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.base import BaseAgent
from pyconsul.agent.metric_names import COUNTER, GAUGE, METRICS, TIMING
from pyconsul.agent.metrics import INTERVAL_S
from pyconsul.config.groups import Telemetry
from pyconsul.structs.catalog import ServiceSpecificRequest
from pyconsul.structs.query import DCSpecificRequest
from tests.agent.fixture import get, noted, put
from tests.agent.world import World


class FiguresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.server = self.world.server(1, dev=True)

    def start(self) -> None:
        self.server.startService()
        self.world.until(lambda: self.server.raft.ready)

    def done(self, answer: Any) -> None:
        """Wait for an answer."""
        results = noted(answer)
        self.world.until(lambda: results)

    def figures(self, agent: BaseAgent) -> dict[str, dict[str, float]]:
        """Gauges, counts and numbers of timings of the interval that ends now, by name."""
        self.world.run_for(INTERVAL_S)
        shown = agent.metrics()
        strip = "consul."
        return {
            GAUGE: {gauge.name.removeprefix(strip): gauge.value for gauge in shown.gauges},
            COUNTER: {counter.name.removeprefix(strip): counter.count for counter in shown.counters},
            TIMING: {sample.name.removeprefix(strip): sample.count for sample in shown.samples},
        }

    def test_requests(self) -> None:
        """Reads, writes and how long these took."""
        self.start()
        self.world.run_for(2 * INTERVAL_S)
        self.figures(self.server)
        for number in range(3):
            self.done(self.server.ask("KVS.Apply", put(f"k{number}")))
        for _ in range(5):
            self.server.ask("KVS.Get", get("k1"))
        for _ in range(2):
            self.server.ask("Health.ServiceNodes", ServiceSpecificRequest(service_name="consul"))
        found = self.figures(self.server)
        self.assertEqual(found[COUNTER]["health.service.query"], 2)
        self.assertNotIn("catalog.service.query", found[COUNTER])
        self.assertEqual(found[TIMING]["kvs.apply"], 3)
        self.assertEqual(found[TIMING]["raft.fsm.apply"], found[COUNTER]["raft.apply"])
        self.assertGreaterEqual(found[TIMING]["raft.commitTime"], 1)
        self.assertGreaterEqual(found[COUNTER]["rpc.query"], 5)
        self.assertGreaterEqual(found[COUNTER]["client.rpc"], 8)
        self.assertEqual(found[GAUGE]["state.kv_entries"], 3.0)
        self.assertEqual(found[GAUGE]["server.isLeader"], 1.0)
        self.assertNotIn("rpc.request", found[COUNTER])

    def test_elections(self) -> None:
        """How a leader came to be one."""
        self.start()
        found = self.figures(self.server)
        self.assertEqual(found[COUNTER]["raft.state.leader"], 1)
        self.assertEqual(found[COUNTER]["raft.state.candidate"], 1)

    def test_a_client(self) -> None:
        """Its requests are counted here as asked, there as served."""
        client = self.world.client(2)
        self.start()
        client.startService()
        self.done(client.join(["10.0.0.1:8301"]))
        self.world.run_for(2 * INTERVAL_S)
        before = self.server.served.calls
        self.done(client.ask("Catalog.ListNodes", DCSpecificRequest()))
        self.assertGreater(self.server.served.calls, before)
        found = self.figures(client)
        self.assertGreaterEqual(client.asked, 1)
        self.assertNotIn("raft.apply", found[COUNTER])
        self.assertEqual(self.server.totals()["serf.member.join"], 2)
        self.assertGreater(found[COUNTER]["memberlist.udp.sent"], 0)
        self.assertGreater(found[COUNTER]["memberlist.udp.received"], 0)

    def test_all_are_declared(self) -> None:
        """What an agent shows is in the table, as what it is, and the table has nothing else."""
        self.start()
        client = self.world.client(3)
        client.startService()
        agents: tuple[tuple[BaseAgent, bool], ...] = ((self.server, True), (client, False))
        for agent, on_server in agents:
            timings = {name for some in agent.telemetry.timings for name in some}
            shown = {
                GAUGE: {name for name in agent.telemetry.gauges() if not name.startswith("autopilot.")},
                COUNTER: set(agent.totals()),
                TIMING: timings,
            }
            for kind, names in shown.items():
                declared = {
                    metric.name
                    for metric in METRICS
                    if metric.kind == kind
                    and (on_server or not metric.on_servers)
                    and not metric.name.startswith(("http.", "dns.", "autopilot."))
                }
                self.assertEqual(names, declared, kind)

    def test_autopilot(self) -> None:
        """The leader says how the servers are."""
        self.start()
        self.world.until(lambda: self.server.autopilot.health() is not None)
        found = self.figures(self.server)[GAUGE]
        self.assertEqual((found["autopilot.healthy"], found["autopilot.failure_tolerance"]), (1.0, 0.0))

    def test_filter(self) -> None:
        """As configured, and from then on as it is reloaded."""
        telemetry = Telemetry(prefix_filter=("+consul.raft",), filter_default=False)
        agent = self.world.server(4, dev=True, telemetry=telemetry)
        agent.startService()
        self.assertTrue(agent.telemetry.gauges())
        self.assertTrue(all(name.startswith("raft.") for name in agent.telemetry.gauges()))
        (part,) = [
            part
            for part in agent.reloading.parts
            if part.changes(agent.config, self.world.config(4, server=True, dev=True))
        ]
        part.apply(agent.config, self.world.config(4, server=True, dev=True))
        self.assertIn("serf.queue.Event", agent.telemetry.gauges())
