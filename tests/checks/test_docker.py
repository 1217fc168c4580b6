"""Checks in containers, against a stand-in that speaks the Engine's API on a UNIX socket."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pyconsul.checks.definition import CheckType
from pyconsul.checks.docker import DockerProbe

reactor: Any = any_reactor


class Engine(Resource):
    """Execs end with the number that a container is named after; other names are trouble."""

    isLeaf = True
    create_fails = {"gone": (404, "No such container"), "paused": (409, "paused"), "broken": (500, "oh")}

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Any]] = []

    def render(self, request: Any) -> Any:
        path = request.path.decode()
        body = request.content.read()
        self.asked.append((f"{request.method.decode()} {path}", json.loads(body) if body else None))
        _, _, name, *rest = path.split("/")
        request.setHeader("Content-Type", "application/json")
        if rest == ["exec"]:
            code, text = self.create_fails.get(name, (201, ""))
            request.setResponseCode(code)
            wrong: Any = {"no-id": {}, "no-json": [], "odd-json": "{"}
            answer = {"message": text} if text else wrong.get(name, {"Id": name})
            return b"{" if answer == "{" else json.dumps(answer).encode()
        if rest == ["start"]:
            if name == "start-fails":
                request.setResponseCode(500)
                return b"oh start"
            if name == "hangs":
                return NOT_DONE_YET
            return f"out of {name}\r\n".encode() * (1000 if name == "big-0" else 1)
        if name in ("lost", "inspect-fails"):
            request.setResponseCode(404 if name == "lost" else 500)
            return b"nope"
        end = name.rpartition("-")[2]
        return json.dumps({"Running": False, "ExitCode": int(end) if end.isdigit() else None}).encode()


class DockerTests(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "docker.sock")
        self.engine = Engine()
        site = Site(self.engine)
        site.noisy = False
        self.port = reactor.listenUNIX(self.path, site)
        self.tcp = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(lambda: self.port.stopListening())
        self.addCleanup(lambda: self.tcp.stopListening())

    def probe(self, container: str, host: str = "", **fields: Any) -> DockerProbe:
        definition = CheckType(
            check_id="c", kind="docker", target=container, args=("a", "b"), timeout_s=3.0, **fields
        )
        return DockerProbe(definition, reactor, host or f"unix://{self.path}")

    async def test_a_run(self) -> None:
        """Three requests; the exit status decides."""
        for number, status in ((0, "passing"), (1, "warning"), (2, "critical")):
            found = await self.probe(f"web-{number}").run()
            self.assertEqual(found, (status, f"out of web-{number}\r\n"))
        create, start, inspect = self.engine.asked[:3]
        self.assertEqual(create[0], "POST /containers/web-0/exec")
        self.assertEqual(create[1]["Cmd"], ["a", "b"])
        self.assertEqual(start, ("POST /exec/web-0/start", {"Detach": False, "Tty": True}))
        self.assertEqual(inspect, ("GET /exec/web-0/json", None))

    async def test_over_tcp(self) -> None:
        found = await self.probe("web-0", f"tcp://127.0.0.1:{self.tcp.getHost().port}").run()
        self.assertEqual(found.status, "passing")

    async def test_long_output(self) -> None:
        _, output = await self.probe("big-0", output_bytes_max=10).run()
        self.assertEqual(output, "Captured 10 of 14000 bytes\n...\nof big-0\r\n")

    async def test_trouble(self) -> None:
        """In Consul's words, where it was seen to say them."""
        for name, text in (
            ("gone", "create exec failed for unknown container gone"),
            ("paused", "create exec failed since container paused is paused or stopped"),
            ("broken", 'create exec failed for container broken with status 500: {"message": "oh"}'),
            ("no-id", "create exec failed for container no-id: no id"),
            ("no-json", "the Engine's answer is no JSON object"),
            ("odd-json", "the Engine's answer is no JSON object"),
            (
                "start-fails",
                "start exec failed for container start-fails with status 500: body: oh start err: <nil>",
            ),
            ("lost", "inspect exec failed for container lost: invalid exec id lost"),
            ("inspect-fails", "inspect exec failed for container inspect-fails with status 500: nope"),
            ("web-x", "inspect exec failed for container web-x: no exit code"),
        ):
            self.assertEqual(await self.probe(name).run(), ("critical", text))

    async def test_no_engine(self) -> None:
        for host, text in (
            ("unix:///no/such/socket", "dial unix:///no/such/socket"),
            (
                "npipe:////./pipe/docker",
                'DOCKER_HOST "npipe:////./pipe/docker" is neither unix:// nor tcp://',
            ),
        ):
            status, output = await self.probe("web-0", host).run()
            self.assertEqual(status, "critical")
            self.assertIn(text.removeprefix("dial "), output)

    async def test_a_program_that_does_not_end(self) -> None:
        check = self.probe("hangs")
        run = check.run()
        while len(self.engine.asked) < 2:
            await _turn()
        run.addErrback(lambda _: None)
        run.cancel()
        self.assertEqual(check.timed_out(), ("critical", "Timed out (3s) running check"))


def _turn() -> Any:
    from twisted.internet.task import deferLater

    return deferLater(reactor, 0)
