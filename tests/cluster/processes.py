"""Real agents on loopback, ended by pid; their logs are shown when a test fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

T = TypeVar("T")


def block(number: int) -> str:
    """The first three bytes of a loopback network of a test's own, and of this process's own."""
    return f"127.{50 + os.getpid() % 200}.{number}"


WITHIN_S = 60.0
"""For how long something is waited for that takes a second or two, on a machine that may be very busy."""

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FAST = "performance { raft_multiplier = 1 }"


NOT_YET = (
    OSError, HTTPException, ValueError, AssertionError, LookupError, TypeError, StopIteration,
    subprocess.SubprocessError,
)  # fmt: skip
"""What an agent's answers, or that there is none, lead to while it is not ready."""


def eventually(probe: Callable[[], T], within_s: float = WITHIN_S, every_s: float = 0.05) -> T:
    """The first true answer of ``probe``; exceptions of the network count as not yet."""
    until = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < until:
        try:
            answer = probe()
        except NOT_YET as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s} s; last: {last!r}")


class Agent:
    """One agent process at one loopback address, on the default ports."""

    def __init__(self, test: SynchronousTestCase, folder: str, ip: str, name: str, *arguments: str) -> None:
        self.ip = ip
        self.name = name
        self.folder = os.path.join(folder, name)
        self._arguments = arguments
        self._test = test
        self._process: subprocess.Popen[bytes] | None = None
        os.makedirs(self.folder, exist_ok=True)
        test.addCleanup(self.kill)

    @property
    def log_path(self) -> str:
        """Everything the process printed, over all its starts."""
        return os.path.join(self.folder, "log")

    def command(self) -> list[str]:
        """The command line."""
        own = ["-node", self.name, "-bind", self.ip, "-client", self.ip]
        own += ["-data-dir", os.path.join(self.folder, "data"), "-hcl", FAST]
        return [sys.executable, "-m", "pyconsul", "agent", *own, *self._arguments]

    def start(self) -> Agent:
        """Start the process, for the first time or again."""
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": ROOT},
            )
        return self

    def kill(self, number: int = signal.SIGKILL) -> int | None:
        """End the process with a signal and wait; returns its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def wait(self, within_s: float = WITHIN_S) -> int:
        """Its exit status, when it ends by itself."""
        assert self._process is not None
        return self._process.wait(timeout=within_s)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it printed."""
        if not os.path.exists(self.log_path):
            return "(never started)"
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    # ------------------------------------------------------------ HTTP

    def request(self, method: str, path: str, body: Any = None, timeout_s: float = 30.0) -> tuple[int, bytes]:
        """One request; a body that is not bytes is sent as JSON."""
        connection = HTTPConnection(self.ip, 8500, timeout=timeout_s)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, "/v1/" + path, data)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        status, body = self.request("GET", path)
        if status != 200:
            raise ValueError(f"{path}: {status} {body!r}")
        return json.loads(body)

    def put(self, path: str, body: Any = b"") -> bytes:
        """A PUT that must succeed."""
        status, answer = self.request("PUT", path, body)
        if status != 200:
            raise ValueError(f"{path}: {status} {answer!r}")
        return answer

    def dig(self, name: str, kind: str = "A") -> list[str]:
        """The records of an answer, one text each."""
        command = ["dig", f"@{self.ip}", "-p", "8600", "+short", "+tries=1", "+time=5", name, kind]
        return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S).stdout.splitlines()


class TookTooLong(Exception):
    """A test hangs."""


class ProcessTestCase(SynchronousTestCase):
    """A test with processes of its own: should it hang, it is the only one that fails.

    :cvar limit_s: what it may take, preparations and all; far more than it needs.
    """

    limit_s = 600.0

    def run(self, result: Any = None) -> Any:
        """Run the test, and print the agents' logs if it failed."""
        failed = _bad(result)
        before = signal.signal(signal.SIGALRM, self._took_too_long)
        signal.setitimer(signal.ITIMER_REAL, self.limit_s)
        try:
            outcome = super().run(result)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        if _bad(result) > failed:
            for agent in getattr(self, "agents", []):
                print(f"---- {agent.name}\n{agent.log()[-4000:]}")
        return outcome

    def _took_too_long(self, number: int, frame: object) -> None:
        raise TookTooLong(f"{self.id()} took more than {self.limit_s} s")


class ClusterTestCase(ProcessTestCase):
    """Three servers and a client agent in a network block of the test's own."""

    block = block(30)

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        addresses = [f"{self.block}.{number}" for number in (2, 3, 4)]
        join = [argument for address in addresses for argument in ("-retry-join", address)]
        self.servers = [
            self.make(f"s{number}", f"{self.block}.{number}", "-server", "-bootstrap-expect", "3", *join)
            for number in (2, 3, 4)
        ]
        self.client = self.make("c5", f"{self.block}.5", *join)
        self.agents = [*self.servers, self.client]

    def make(self, name: str, ip: str, *arguments: str) -> Agent:
        """An agent, not yet started."""
        return Agent(self, self.folder, ip, name, *arguments)

    def start_all(self) -> None:
        """Start everything and wait for a leader that all know, and for all nodes in the catalog."""
        for agent in self.agents:
            agent.start()
        for agent in self.agents:
            eventually(lambda agent=agent: agent.get("status/leader"))  # type: ignore[misc]
        eventually(lambda: len(self.client.get("catalog/nodes")) == len(self.agents))

    def leader(self) -> Agent:
        """The server that leads."""
        address = eventually(lambda: self.client.get("status/leader")).partition(":")[0]
        return next(server for server in self.servers if server.ip == address)


def _bad(result: Any) -> int:
    return len(getattr(result, "failures", ())) + len(getattr(result, "errors", ()))


def need(program: str) -> str | None:
    """A reason to skip when ``program`` is not installed."""
    return None if shutil.which(program) else f"{program} is not installed"
