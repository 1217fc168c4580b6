"""Real agents of other makes, to talk to: where they are, and running them as children."""

from __future__ import annotations

import json
import os
import signal
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

WITHIN_S = 90.0
"""For how long something is waited for that takes some seconds, on a machine that may be very busy."""

_LOOK_AGAIN_S = 0.1


def peers_folder() -> Path:
    """Where the binaries are: ``$PYCONSUL_PEERS``, or a folder in the user's cache."""
    given = os.environ.get("PYCONSUL_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "pyconsul-peers" / "root" / "usr" / "bin"


def missing_peers(*names: str) -> str | None:
    """Why tests with these binaries have to be skipped, or ``None``."""
    folder = peers_folder()
    absent = [name for name in names if not os.access(folder / name, os.X_OK)]
    if not absent:
        return None
    return f"no {' and no '.join(absent)} in {folder}; set PYCONSUL_PEERS to where they are"


class Peer(ProcessProtocol):
    """A child process. Its output is kept for when a test fails."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.output = bytearray()
        self.ended: Deferred[None] = Deferred()
        path = str(peers_folder() / name)
        self._process: IProcessTransport = reactor.spawnProcess(self, path, [path, *arguments], env=None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)

    def kill(self) -> Deferred[None]:
        """End it with -9; fires when it is gone."""
        return self._signal(signal.SIGKILL)

    def interrupt(self) -> Deferred[None]:
        """Ask it to leave; fires when it is gone."""
        return self._signal(signal.SIGINT)

    def _signal(self, number: int) -> Deferred[None]:
        try:
            self._process.signalProcess(number)
        except ProcessExitedAlready:
            pass
        waiting: Deferred[None] = Deferred()
        self.ended.addCallback(lambda _: waiting.callback(None))
        return waiting


def serf(address: str, name: str, *arguments: str) -> Peer:
    """A serf agent that gossips at ``address``:7946 and takes commands there at port 7373."""
    return Peer(
        "serf", "agent", f"-node={name}", f"-bind={address}:7946", f"-rpc-addr={address}:7373", *arguments
    )


def consul(address: str, name: str, *arguments: str) -> Peer:
    """A Consul server in development mode with all its ports at ``address``."""
    return Peer(
        "consul", "agent", "-dev", f"-node={name}", f"-bind={address}", f"-client={address}", *arguments
    )


async def command(name: str, *arguments: str) -> str:
    """Run a command of a binary; its output, whatever the exit status."""
    out, err, _ = await getProcessOutputAndValue(str(peers_folder() / name), arguments, env=os.environ)
    return str(out + err, "utf-8")


async def serf_members(address: str) -> dict[str, Any]:
    """The members that a serf agent lists, by name; empty while it does not answer."""
    listed = await command("serf", "members", f"-rpc-addr={address}:7373", "-format=json")
    try:
        return {member["name"]: member for member in json.loads(listed)["members"]}
    except (ValueError, KeyError):
        return {}


async def consul_members(address: str, wan: bool = False) -> dict[str, Any]:
    """The members that a Consul agent lists, by name; empty while it does not answer."""
    query = "?wan=1" if wan else ""

    def read() -> Any:
        with urlopen(f"http://{address}:8500/v1/agent/members{query}", timeout=30) as answer:
            return json.load(answer)

    try:
        return {member["Name"]: member for member in await deferToThread(read)}
    except (OSError, HTTPException, ValueError):
        return {}


async def eventually(what: str, probe: Any, within_s: float = WITHIN_S) -> Any:
    """Wait until ``probe``, a function or coroutine function, gives something true; that is returned.

    :raises AssertionError: if it does not happen in time.
    """
    clock: Any = reactor
    end = clock.seconds() + within_s
    while True:
        found = probe()
        if hasattr(found, "__await__"):
            found = await found
        if found:
            return found
        if clock.seconds() > end:
            raise AssertionError(f"not within {within_s} s: {what}")
        await deferLater(clock, _LOOK_AGAIN_S)
