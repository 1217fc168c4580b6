"""Checks that run a program in a container, through the Engine's API.

The requests are the three that Consul makes: create an exec, start it, ask how it ended.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import connect, dial, dial_problem
from pyconsul.checks.exchange import Broken, Exchange, Reply, request_bytes
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.script import exit_state, took_too_long
from pyconsul.structs.catalog import CRITICAL

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_BYTES_MAX = 256 * 1024
TCP_PORT = 2375


class DockerProbe:
    """Runs ``args`` in a container; as for scripts, 0 is passing, 1 warning, anything else critical.

    :param host: where the Engine is, as in ``DOCKER_HOST``: ``unix://PATH`` or ``tcp://HOST:PORT``.
    """

    def __init__(self, definition: CheckType, reactor: Any, host: str = "") -> None:
        self._definition = definition
        self._reactor = reactor
        self._host = host or DEFAULT_HOST

    def run(self) -> Deferred[Outcome]:
        """Run it."""
        return Deferred.fromCoroutine(self._run())

    def timed_out(self) -> Outcome:
        """The connection is closed; the Engine cannot end the program itself."""
        return Outcome(CRITICAL, took_too_long(self._definition.timeout_s, ""))

    async def _run(self) -> Outcome:
        try:
            return await self._execute()
        except Broken as broken:
            return Outcome(CRITICAL, str(broken))

    async def _execute(self) -> Outcome:
        container = self._definition.target
        exec_id = await self._create(container)
        path = f"/exec/{quote(exec_id, safe='')}"
        kept_max = self._definition.output_bytes_max
        started = await self._ask("POST", f"{path}/start", {"Detach": False, "Tty": True}, kept_max)
        if started.code != 200:
            text = f"start exec failed for container {container} with status {started.code}: "
            raise Broken(f"{text}body: {started.body.text()} err: <nil>")
        ended = await self._ask("GET", f"{path}/json")
        if ended.code == 404:
            raise Broken(f"inspect exec failed for container {container}: invalid exec id {exec_id}")
        if ended.code != 200:
            text = f"inspect exec failed for container {container} with status {ended.code}"
            raise Broken(f"{text}: {ended.body.text()}")
        status = _object(ended).get("ExitCode")
        if not isinstance(status, int):
            raise Broken(f"inspect exec failed for container {container}: no exit code")
        return Outcome(exit_state(status), started.body.captured())

    async def _create(self, container: str) -> str:
        wanted = {
            "AttachStdin": False,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "Cmd": list(self._definition.args),
        }
        reply = await self._ask("POST", f"/containers/{quote(container, safe='')}/exec", wanted)
        if reply.code == 404:
            raise Broken(f"create exec failed for unknown container {container}")
        if reply.code == 409:
            raise Broken(f"create exec failed since container {container} is paused or stopped")
        if reply.code != 201:
            text = f"create exec failed for container {container} with status {reply.code}"
            raise Broken(f"{text}: {reply.body.text()}")
        exec_id = _object(reply).get("Id")
        if not isinstance(exec_id, str) or not exec_id:
            raise Broken(f"create exec failed for container {container}: no id")
        return exec_id

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, kept_max: int = ANSWER_BYTES_MAX
    ) -> Reply:
        headers = {"Host": ["docker"], "User-Agent": ["pyconsul"]}
        if body is not None:
            headers["Content-Type"] = ["application/json"]
        data = b"" if body is None else json.dumps(body).encode()
        exchange = Exchange(request_bytes(method, path, headers, data), False, kept_max)
        try:
            await self._connect(exchange)
        except Exception as error:
            raise Broken(dial_problem(Failure(error), self._host) or str(error)) from None
        return await exchange.done

    def _connect(self, exchange: Exchange) -> Deferred[Any]:
        scheme, _, rest = self._host.partition("://")
        if scheme == "unix":
            return connect(UNIXClientEndpoint(self._reactor, rest), exchange)
        if scheme not in ("tcp", "http"):
            raise ValueError(f'DOCKER_HOST "{self._host}" is neither unix:// nor tcp://')
        parts = urlsplit(f"//{rest}")
        return dial(self._reactor, parts.hostname or "localhost", parts.port or TCP_PORT, exchange)


def _object(reply: Reply) -> dict[str, Any]:
    try:
        found = json.loads(reply.body.text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Broken("the Engine's answer is no JSON object")
    return found
