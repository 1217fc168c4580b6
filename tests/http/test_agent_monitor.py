"""``/v1/agent/monitor``: the log as it is written."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import agent_monitor as module
from pyconsul.http.agent_monitor import LINES_MAX
from pyconsul.log import Sink
from tests.http.fakes import Client, FakeAgent, site


class Log:
    """Keeps its sinks."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []

    def add(self, sink: Sink) -> None:
        self.sinks.append(sink)

    def remove(self, sink: Sink) -> None:
        if sink in self.sinks:
            self.sinks.remove(sink)


class MonitorTests(SynchronousTestCase):
    def client(self, **settings: Any) -> Client:
        log: Any = Log()
        self.log: Log = log
        more = [lambda app, agent: module.add_routes(app, log)]
        return Client(site(FakeAgent(), more=more, **settings))

    def setUp(self) -> None:
        self.made = self.client()

    def test_lines(self) -> None:
        """The head at once, then each line as a chunk."""
        head = self.made.get("/v1/agent/monitor?loglevel=debug")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"), head)
        self.assertIn(b"Transfer-Encoding: chunked\r\n", head)
        self.assertNotIn(b"Content-Type", head)
        (sink,) = self.log.sinks
        self.assertEqual(sink.level, "DEBUG")
        sink.write("a line\n")
        self.assertEqual(self.made.received(), b"7\r\na line\n\r\n")

    def test_json(self) -> None:
        """Wanted with any value or none; INFO unless told."""
        self.made.get("/v1/agent/monitor?logjson=x")
        (sink,) = self.log.sinks
        self.assertEqual(sink.level, "INFO")
        self.assertEqual(sink._line.__name__, "json_line")

    def test_level(self) -> None:
        """There must be such a level."""
        received = self.made.get("/v1/agent/monitor?loglevel=zzz")
        self.assertTrue(received.startswith(b"HTTP/1.1 400 "), received)
        self.assertTrue(received.endswith(b"Bad request: Unknown log level: zzz"), received)

    def test_other_methods(self) -> None:
        """It can only be read."""
        received = self.client().get("/v1/agent/monitor", "PUT")
        self.assertTrue(received.startswith(b"HTTP/1.1 405 "), received)
        self.assertIn(b"Allow: OPTIONS,GET\r\n", received)
        received = self.client().get("/v1/agent/monitor", "HEAD")
        self.assertTrue(received.startswith(b"HTTP/1.1 405 "), received)

    def test_blocked(self) -> None:
        """As configured."""
        made = self.client(block_endpoints=("/v1/agent/monitor",))
        self.assertTrue(made.get("/v1/agent/monitor").startswith(b"HTTP/1.1 403 "))
        self.assertEqual(self.log.sinks, [])

    def test_client_gone(self) -> None:
        """Nothing is kept for one that has gone."""
        self.made.get("/v1/agent/monitor")
        self.made.lose()
        self.assertEqual(self.log.sinks, [])

    def test_agent_ends(self) -> None:
        """The answer ends as one that is whole; who does not read is cut off."""
        self.made.get("/v1/agent/monitor")
        self.made.channel.site.close()
        self.assertEqual((self.made.received(), self.log.sinks), (b"0\r\n\r\n", []))
        self.assertTrue(self.made.transport.disconnecting)
        self.assertFalse(self.made.transport.disconnected)
        self.made.lose()
        slow = self.client()
        slow.get("/v1/agent/monitor")
        slow.channel.pauseProducing()
        slow.channel.site.close()
        self.assertTrue(slow.transport.disconnected)

    def test_slow_client(self) -> None:
        """So many lines wait for a slow one; it is told how many more there were."""
        self.made.get("/v1/agent/monitor")
        (sink,) = self.log.sinks
        write_line: Any = sink.write
        monitor = write_line.__self__
        monitor.pauseProducing()
        for _ in range(LINES_MAX + 3):
            sink.write("x\n")
        self.assertEqual(self.made.received(), b"")
        monitor.resumeProducing()
        received = self.made.received()
        self.assertEqual(received.count(b"x\n"), LINES_MAX)
        self.assertIn(b"Monitor dropped 3 logs during monitor request\n", received)
        monitor.pauseProducing()
        monitor.resumeProducing()
        self.assertEqual(self.made.received(), b"")

    def test_its_own_lines(self) -> None:
        """What is logged while a line is written does not go round."""
        self.made.get("/v1/agent/monitor")
        (sink,) = self.log.sinks
        write_line: Any = sink.write
        monitor = write_line.__self__
        write = monitor.request.write

        def noisy(data: bytes) -> None:
            sink.write("written\n")
            write(data)

        self.patch(monitor.request, "write", noisy)
        sink.write("a\n")
        self.assertEqual(self.made.received(), b"2\r\na\n\r\n")
