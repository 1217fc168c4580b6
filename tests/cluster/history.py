"""Clients that record what they asked of a cluster and were told, and watchers of the same keys."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from itertools import count
from random import Random

from pyconsul.testing.history import (
    CAS,
    CONSISTENT,
    DEFAULT,
    DELETE,
    DELETE_CAS,
    GET,
    PUT,
    STALE,
    History,
    Operation,
)
from tests.cluster.processes import Agent

TIMEOUT_S = 10.0
WAIT_S = 60
LASTING = 4
"""Keys that are used all the time; others only for ``PHASE`` operations, so that what is unknown of
one does not pile up."""
PHASE = 2_000
PASSING = 8

KINDS = {GET: 50, PUT: 28, CAS: 14, DELETE: 4, DELETE_CAS: 4}
MODES = {CONSISTENT: 6, DEFAULT: 3, STALE: 1}

Entry = tuple[bytes | None, int]
"""A value, and Consul's ModifyIndex of it."""


def lasting(number: int) -> str:
    """The name of a key that is used all the time."""
    return f"h/lasting/{number}"


class Server:
    """An agent, with a number that tells one process of it from the next."""

    def __init__(self, agent: Agent, holds_state: bool) -> None:
        self.agent = agent
        self.holds_state = holds_state
        self.epoch = 0

    def kill(self) -> None:
        """End the process at once."""
        self.epoch += 1
        self.agent.kill()

    def start(self) -> None:
        """Start it again."""
        self.epoch += 1
        self.agent.start()


class Connection:
    """A connection to one process: it is never made again, so that it never reaches another."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        before = server.epoch
        self._http = HTTPConnection(server.agent.ip, 8500, timeout=timeout_s)
        self._http.connect()
        self._http.auto_open = 0
        self.process = f"{server.agent.name}/{before}" if before == server.epoch else ""

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, int]:
        """Status, body and index."""
        self._http.request(method, "/v1/" + path, body)
        answer = self._http.getresponse()
        return answer.status, answer.read(), int(answer.headers.get("X-Consul-Index", 0))

    def close(self) -> None:
        """Close it."""
        self._http.close()


class Recording:
    """The history of all clients.

    :ivar finished: whether the clients are to end.
    """

    def __init__(self) -> None:
        self.history = History()
        self._lock = threading.Lock()
        self.finished = False

    def phase(self) -> int | None:
        """The time in which the next operation is; ``None``: there is none."""
        return None if self.finished else len(self.history) // PHASE

    def invoke(self, client: int, kind: str, key: str, asked: Entry, value: bytes, mode: str) -> Operation:
        """An operation begins; ``asked`` is what a conditional one goes by."""
        written = value if kind in (PUT, CAS) else None
        expected = asked[0] if kind in (CAS, DELETE_CAS) else None
        with self._lock:
            return self.history.invoke(client, kind, key, written, expected, mode if kind == GET else "")

    def returned(self, operation: Operation, result: bytes | bool | None, version: int) -> None:
        """It has an outcome."""
        with self._lock:
            self.history.returned(operation, result, version)


class Client(threading.Thread):
    """Asks one thing after another, each time of whichever agent."""

    def __init__(self, number: int, seed: int, servers: Sequence[Server], recording: Recording) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._rng = Random(seed * 1000 + number)
        self._servers = servers
        self._recording = recording
        self._connections: dict[Server, Connection] = {}
        self._seen: dict[str, Entry] = {}
        self._values = count()
        self.start()

    def run(self) -> None:
        """Until it is enough."""
        rng = self._rng
        while (phase := self._recording.phase()) is not None:
            key = f"h/{phase}/{rng.randrange(PASSING)}"
            if rng.random() < 0.3:
                key = lasting(rng.randrange(LASTING))
            kind = rng.choices([*KINDS], [*KINDS.values()])[0]
            mode = rng.choices([*MODES], [*MODES.values()])[0]
            server = rng.choice(self._servers)
            if kind == GET and mode == STALE and not server.holds_state:
                mode = CONSISTENT
            connection = self._connected(server)
            if connection is not None and not (mode == STALE and not connection.process):
                self._ask(server, connection, kind, key, mode)
        for connection in self._connections.values():
            connection.close()

    def _connected(self, server: Server) -> Connection | None:
        found = self._connections.get(server)
        if found is None:
            try:
                found = self._connections[server] = Connection(server, TIMEOUT_S)
            except OSError:  # it is down: nothing was asked
                time.sleep(0.02)
        return found

    def _ask(self, server: Server, connection: Connection, kind: str, key: str, mode: str) -> None:
        asked = self._seen.get(key, (None, 0))
        if kind == DELETE_CAS and not asked[1]:
            kind = CAS
        value = f"{self._number}.{next(self._values)}".encode()
        operation = self._recording.invoke(self._number, kind, key, asked, value, mode)
        operation.server = connection.process if operation.mode == STALE else ""
        condition = f"?cas={asked[1]}" if kind in (CAS, DELETE_CAS) else ""
        method = {PUT: "PUT", CAS: "PUT", GET: "GET"}.get(kind, "DELETE")
        path = f"kv/{key}{condition or ('?' + mode if kind == GET else '')}"
        try:
            status, body, _ = connection.ask(method, path, value if method == "PUT" else None)
        except (OSError, HTTPException):  # maybe it was done, maybe it will be
            self._connections.pop(server).close()
            return
        self._told(operation, status, body)

    def _told(self, operation: Operation, status: int, body: bytes) -> None:
        if operation.kind == GET and status in (200, 404):
            value, version = self._seen[operation.key] = entry(body)
            self._recording.returned(operation, value, version)
        elif operation.kind != GET and status == 200:
            self._recording.returned(operation, body == b"true", 0)


def entry(body: bytes) -> Entry:
    """What the answer to a read of one key shows; an empty one is that of a key that is not there."""
    if not body:
        return None, 0
    [row] = json.loads(body)
    return b64decode(row["Value"]), row["ModifyIndex"]


class Watcher(threading.Thread):
    """Follows a key, or all under a prefix, by the index, whatever becomes of the agent that it asks.

    :ivar body: what it was last shown.
    """

    def __init__(self, server: Server, path: str) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.path = path
        self.body = b""
        self.answers = 0
        self.stopped = False
        self.start()

    def run(self) -> None:
        """Until it is stopped."""
        index, connection = 0, None
        mark = "&" if "?" in self.path else "?"
        while not self.stopped:
            try:
                connection = connection or Connection(self._server, 1.1 * WAIT_S)
                path = f"{self.path}{mark}index={index}&wait={WAIT_S}s"
                status, body, newer = connection.ask("GET", path)
            except (OSError, HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.05)
                continue
            if status not in (200, 404):
                time.sleep(0.05)
                continue
            self.body, index = body, newer if newer >= index else 0
            self.answers += 1
