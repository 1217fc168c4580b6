"""What watches call, with real programs and a real web server."""

from __future__ import annotations

import os
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pyconsul.agent import watch_handlers
from pyconsul.agent.watch_handlers import http_handler, python_handler, script_handler
from pyconsul.checks.script import shell
from pyconsul.errors import Refused
from pyconsul.structs.watch import Parameters

reactor: Any = _reactor


class ScriptTests(TestCase):
    async def test_input_and_index(self) -> None:
        path = self.mktemp()
        program = ["sh", "-c", f'cat > {path}; echo "$CONSUL_INDEX" >> {path}']
        await script_handler(Parameters({"args": program}), reactor)(b'{"a":1}\n', 7)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), '{"a":1}\n7\n')

    async def test_line_of_a_shell(self) -> None:
        path = self.mktemp()
        await script_handler(Parameters({"handler": f"cat > {path}"}), reactor)(b"x", 1)
        self.assertTrue(os.path.exists(path))
        self.assertEqual(shell("a b", {}), ["/bin/sh", "-c", "a b"])
        self.assertEqual(shell("a", {"SHELL": "/bin/zsh"})[0], "/bin/zsh")

    async def test_failures(self) -> None:
        for program, text in (
            (["sh", "-c", "exit 3"], "exit status 3"),
            (["sh", "-c", "kill -9 $$"], "ended by a signal"),
            (["no-such-program"], 'exec: "no-such-program": executable file not found in $PATH'),
        ):
            handler = script_handler(Parameters({"args": program}), reactor)
            try:
                await handler(b"x", 1)
            except Refused as error:
                self.assertEqual(str(error), text)
            else:
                self.fail(f"{program} is no failure")

    async def test_does_not_read(self) -> None:
        """A program that leaves its input alone, however long that is, does no harm."""
        await script_handler(Parameters({"args": ["true"]}), reactor)(b"x" * 1_000_000, 1)


class _Notes(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
        self.status = 200
        self.answers = True

    def render(self, request: Any) -> Any:
        self.seen.append((request.method, request.getAllHeaders(), request.content.read()))
        request.setResponseCode(self.status)
        return b"it" if self.answers else NOT_DONE_YET


class HttpTests(TestCase):
    def setUp(self) -> None:
        self.notes = _Notes()
        site: Any = Site(self.notes)
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/hook"

    def handler(self, **more: Any) -> Any:
        return http_handler(Parameters({"http_handler_config": {"path": self.url, **more}}), reactor)

    async def test_post(self) -> None:
        await self.handler(header={"X-Own": ["1"]})(b"[1]", 7)
        method, headers, body = self.notes.seen[0]
        self.assertEqual((method, body), (b"POST", b"[1]"))
        self.assertEqual((headers[b"x-consul-index"], headers[b"x-own"]), (b"7", b"1"))
        self.assertEqual(headers[b"content-type"], b"application/json")

    async def test_failure(self) -> None:
        self.notes.status = 503
        try:
            await self.handler(method="PUT")(b"[1]", 7)
        except Refused as error:
            self.assertIn("503", str(error))
        else:
            self.fail("503 is no failure")
        self.assertEqual(self.notes.seen[0][0], b"PUT")

    async def test_no_answer(self) -> None:
        """It is a failure like any other: the watch goes on."""
        self.notes.answers = False
        try:
            await self.handler(timeout="50ms")(b"[1]", 7)
        except Refused as error:
            self.assertIn("context deadline exceeded", str(error))
        else:
            self.fail("no answer is no failure")


class PythonTests(TestCase):
    async def test_call(self) -> None:
        seen: list[tuple[bytes, int]] = []

        async def function(data: bytes, index: int) -> None:
            seen.append((data, index))

        point = EntryPoint("mine", "x:y", watch_handlers.GROUP)
        self.patch(EntryPoint, "load", lambda self: function)
        self.patch(metadata, "entry_points", lambda group: [point])
        waiting: Deferred[None] = Deferred.fromCoroutine(
            python_handler(Parameters({"python": "mine"}), reactor)(b"x", 3)  # type: ignore[arg-type]
        )
        await waiting
        self.assertEqual(seen, [(b"x", 3)])
