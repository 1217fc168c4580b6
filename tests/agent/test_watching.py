"""Watches of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import watch_handlers
from pyconsul.agent.watch_handlers import Handler
from pyconsul.agent.watching import Watching, prepare
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError, Refused

KEY = {"type": "key", "key": "a", "args": ["cat"]}
NODES = {"type": "nodes", "args": ["cat"]}


class PrepareTests(SynchronousTestCase):
    def test_refused(self) -> None:
        http = {"type": "nodes", "handler_type": "http"}
        for definition, text in (
            ({}, "(): Watch type must be specified"),
            ({"type": "key", "key": "a"}, "(type='key', key='a'): Must define a watch handler"),
            ({**KEY, "handler": "x"}, "Only one watch handler allowed"),
            ({**KEY, "bogus": 1}, "Invalid parameters: [bogus]"),
            ({**KEY, "handler_type": "foo"}, "Handler type 'foo' not recognized"),
            (http, "Handler type 'http' requires 'http_handler_config' to be set"),
            (
                {**http, "http_handler_config": {}},
                "Failed to parse 'http_handler_config': Requires 'path' to be set",
            ),
            ({**http, "http_handler_config": 3}, "Failed to parse 'http_handler_config': Expecting a map"),
            (
                {**http, "http_handler_config": [{"path": "http://x", "timeout": "zz"}]},
                "Failed to parse 'http_handler_config': Failed to parse timeout: ",
            ),
            (
                {**http, "http_handler_config": {"path": "http://x", "header": {"a": "b"}}},
                "Expecting header to be a map of lists",
            ),
            (
                {**http, "http_handler_config": {"path": "http://x", "bogus": 1}},
                "Invalid parameters: [bogus]",
            ),
            ({"type": "nodes", "handler_type": "python"}, "requires 'python' to be set"),
            (
                {"type": "nodes", "handler_type": "python", "python": "nope"},
                "no Python handler is called 'nope'",
            ),
        ):
            error = self.assertRaises(ConfigurationError, prepare, definition, None)
            self.assertIn(text, str(error))
            self.assertTrue(str(error).startswith("Failed to parse watch ("))

    def test_tokens_are_not_shown(self) -> None:
        error = self.assertRaises(ConfigurationError, prepare, {"token": "secret"}, None)
        self.assertNotIn("secret", str(error))


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[str, str, Deferred[tuple[int, int, bytes]]]] = []
        self.handled: list[tuple[bytes, int]] = []
        self.handling: Deferred[None] | None = None
        self.clock = Clock()
        self.patch(watch_handlers, "KINDS", {"script": self.handler})
        self.watching = Watching(self.ask, self.clock)
        self.addCleanup(self.watching.stop)

    def ask(self, target: str, token: str) -> Deferred[tuple[int, int, bytes]]:
        answer: Deferred[tuple[int, int, bytes]] = Deferred()
        self.asked.append((target, token, answer))
        return answer

    def handler(self, parameters: Any, reactor: Any) -> Handler:
        parameters.texts("args")

        async def handle(data: bytes, index: int) -> None:
            self.handled.append((data, index))
            if self.handling is not None:
                await self.handling

        return handle

    def answer(self, status: int, index: int, body: bytes) -> None:
        self.asked[-1][2].callback((status, index, body))


class RunTests(Case):
    def test_deliveries(self) -> None:
        self.watching.start([{**NODES, "token": "t"}])
        self.assertEqual(self.asked[0][:2], ("/v1/catalog/nodes", "t"))
        self.answer(200, 5, b"[]")
        self.assertEqual(self.handled, [(b"[]\n", 5)])
        self.assertEqual(self.asked[1][0], "/v1/catalog/nodes?index=5")
        self.answer(200, 5, b"[]")
        self.answer(200, 6, b"[1]")
        self.assertEqual(self.handled[1:], [(b"[1]\n", 6)])

    def test_one_run_at_a_time(self) -> None:
        self.handling = Deferred()
        self.watching.start([NODES])
        self.answer(200, 5, b"[]")
        self.assertEqual(len(self.asked), 1)
        self.handling.callback(None)
        self.assertEqual(len(self.asked), 2)

    def test_handler_fails(self) -> None:
        self.handling = fail(Refused("exit status 3"))
        self.watching.start([NODES])
        self.answer(200, 5, b"[]")
        self.assertEqual(len(self.asked), 2)

    def test_retries(self) -> None:
        """After 5 s times the square of the failures in a row, and no more than 180 s."""
        self.watching.start([NODES])
        for wait_s in (5.0, 20.0, 45.0, 80.0, 125.0, 180.0, 180.0):
            asked = len(self.asked)
            self.answer(500, 0, b"No cluster leader")
            self.clock.advance(wait_s - 0.1)
            self.assertEqual(len(self.asked), asked)
            self.clock.advance(0.2)
            self.assertEqual(len(self.asked), asked + 1)
        self.answer(200, 5, b"[]")
        self.answer(500, 0, b"x")
        self.clock.advance(5.1)
        self.assertEqual(len(self.asked), 10)

    def test_stop(self) -> None:
        """Whatever it waits for: an answer, its handler, the next attempt."""
        for answer in (None, (200, 5, b"[]"), (500, 0, b"x")):
            self.handling = Deferred()
            self.watching.start([NODES])
            if answer is not None:
                self.answer(*answer)
            self.watching.stop()
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.asked), 3)

    def test_answer_to_a_cancelled_question(self) -> None:
        """The HTTP interface answers all the same, with an error."""
        answer: Deferred[Any] = Deferred(lambda it: it.callback((500, 0, b"cancelled")))
        watches = Watching(lambda target, token: answer, self.clock)
        watches.start([NODES])
        watches.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_wrong_one(self) -> None:
        """None is begun."""
        self.assertRaises(ConfigurationError, self.watching.start, [NODES, {}])
        self.assertEqual(self.asked, [])


class ReloadTests(Case):
    def reload(self, *definitions: Mapping[str, Any]) -> list[str]:
        old, new = AgentConfig(), AgentConfig(watches=tuple(dict(d) for d in definitions))
        lines = self.watching.changes(old, new)
        if lines:
            self.watching.apply(old, new)
        return lines

    def test_difference(self) -> None:
        self.watching.start([NODES])
        self.assertEqual(self.reload(NODES), [])
        self.assertEqual(self.reload(NODES, KEY), ["watch type='key', key='a', args=['cat']: added"])
        self.assertEqual([target for target, _, _ in self.asked], ["/v1/catalog/nodes", "/v1/kv/a"])
        self.assertEqual(self.reload(KEY), ["watch type='nodes', args=['cat']: removed"])
        self.asked[0][2].addErrback(lambda failure: None)
        self.assertTrue(self.asked[0][2].called)
        self.assertFalse(self.asked[1][2].called)

    def test_wrong(self) -> None:
        self.watching.start([NODES])
        self.assertRaises(ConfigurationError, self.reload, KEY, {"type": "zzz"})
        self.assertEqual(len(self.asked), 1)
