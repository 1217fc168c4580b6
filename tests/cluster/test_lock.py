"""``lock`` as a real process: who holds, who waits, and what ends the program; also beside real Consul."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import ROOT, Agent, ProcessTestCase, block, eventually

OURS = (sys.executable, "-m", "pyconsul")
END_S = 60.0
"""For how long a program that should end is waited for."""


class Process:
    """``lock`` in the background. What it prints goes to files: who it left behind might keep a pipe open."""

    def __init__(self, test: LockTestCase, arguments: Sequence[str], stdin: str | None) -> None:
        self._outputs = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        for file in self._outputs:
            test.addCleanup(file.close)
        self._process = subprocess.Popen(
            arguments,
            stdin=None if stdin is None else subprocess.PIPE,
            stdout=self._outputs[0],
            stderr=self._outputs[1],
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT, "CONSUL_HTTP_ADDR": f"{test.ip}:8500"},
        )
        test.addCleanup(self._process.wait)
        test.addCleanup(self._process.kill)
        if stdin is not None:
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                pipe.write(stdin)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ends(self) -> tuple[int, str, str]:
        """Wait for its end: status, output, errors."""
        status = self._process.wait(END_S)
        for file in self._outputs:
            file.seek(0)
        out, err = (file.read() for file in self._outputs)
        return status, out, err


class LockTestCase(ProcessTestCase):
    ip = f"{block(54)}.1"
    held = 0

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.agent = Agent(self, self.folder, self.ip, "n1", "-dev").start()
        eventually(lambda: self.agent.get("status/leader"))
        eventually(lambda: self.agent.get("health/node/n1"))

    def start(self, *arguments: str, program: Sequence[str] = OURS, stdin: str | None = None) -> Process:
        """``lock`` in the background."""
        return Process(self, [*program, "lock", *arguments], stdin)

    def hold(self, *arguments: str, program: Sequence[str] = OURS) -> Process:
        """``lock`` in the background, once its program runs, which does not end by itself."""
        self.held += 1
        mark = self.file(f"held{self.held}")
        process = self.start(*arguments, f"touch {mark}; exec sleep 60", program=program)
        eventually(lambda: os.path.exists(mark), END_S)
        return process

    def lock(self, *arguments: str) -> tuple[int, str, str]:
        """``lock`` to its end: status, output, errors."""
        return self.start(*arguments).ends()

    def file(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def holder(self, key: str) -> str:
        """The session that has a lock."""
        (row,) = self.agent.get(f"kv/{key}")
        session: str = row["Session"]
        return session

    def nothing_is_left(self) -> None:
        self.assertEqual(self.agent.get("kv/?keys"), [])
        self.assertEqual(self.agent.get("session/list"), [])


class LockTests(LockTestCase):
    def test_program(self) -> None:
        """What it is given, and what its end means."""
        self.assertEqual(self.lock("a", "echo $CONSUL_LOCK_HELD"), (0, "true\n", ""))
        self.assertEqual(self.lock("-shell=false", "a", "echo", "$x", "y"), (0, "$x y\n", ""))
        failed = "Error running handler: exit status 3\n"
        self.assertEqual(self.lock("a", "exit 3"), (0, "", failed))
        self.assertEqual(self.lock("-child-exit-code", "a", "exit 3"), (2, "", failed))
        status, _, err = self.lock("-child-exit-code", "-shell=false", "a", "/none")
        self.assertEqual(
            (status, err), (2, "Error starting handler: fork/exec /none: no such file or directory\n")
        )
        process = self.start("-pass-stdin", "a", "cat", stdin="through")
        self.assertEqual(process.ends(), (0, "through", ""))
        self.assertEqual(
            self.lock("-verbose", "/a/", "true")[1].splitlines(),
            [
                "Setting up lock at path: a/.lock", "Attempting lock acquisition", "Starting handler",
                "Child terminated, releasing lock", "Cleanup succeeded",
            ],
        )  # fmt: skip
        self.nothing_is_left()

    def test_what_is_refused(self) -> None:
        for arguments, reason in (
            (["a"], "Key prefix and child command must be specified"),
            (["-n=0", "a", "true"], "Lock holder limit must be positive"),
            (["-timeout=-1s", "a", "true"], "Timeout must be positive"),
            (["-monitor-retry=-1", "a", "true"], "Number for 'monitor-retry' must be >= 0"),
        ):
            self.assertEqual(self.lock(*arguments), (1, "", reason + "\n"))
        self.agent.put("kv/other/.lock", b"x")
        status, _, err = self.lock("other", "true")
        text = "Lock acquisition failed: Existing key does not match lock use\n"
        self.assertEqual((status, err), (1, text))
        self.assertEqual(self.agent.get("session/list"), [])

    def test_waits(self) -> None:
        """One after the other, in time or not at all; a signal ends the waiting, too."""
        first = self.hold("-name=mine", "a")
        (session,) = self.agent.get(f"session/info/{self.holder('a/.lock')}")
        self.assertEqual((session["Name"], session["TTL"], session["Behavior"]), ("mine", "15s", "release"))
        gave_up = (1, "", "Shutdown triggered or timeout during lock acquisition\n")
        for flag in ("-try=500ms", "-timeout=500ms"):
            self.assertEqual(self.lock(flag, "a", "echo never"), gave_up)
        impatient = self.start("a", "echo never")
        eventually(lambda: len(self.agent.get("session/list")) == 2)
        impatient.signal(signal.SIGTERM)
        self.assertEqual(impatient.ends(), gave_up)
        patient = self.start("a", "echo mine")
        eventually(lambda: len(self.agent.get("session/list")) == 2)
        first.signal(signal.SIGTERM)
        self.assertEqual(first.ends(), (0, "", "Error running handler: signal: terminated\n"))
        self.assertEqual(patient.ends(), (0, "mine\n", ""))
        eventually(lambda: self.agent.get("session/list") == [])
        self.nothing_is_left()

    def test_lost(self) -> None:
        """The program and all that it has started ends when the session does; else it is left alone."""
        pid = self.file("pid")
        held = self.start("-verbose", "-child-exit-code", "a", f"sleep 60 & echo $! > {pid}; wait")
        eventually(lambda: os.path.getsize(pid))
        self.agent.put("kv/b", b"neighbour")
        self.assertTrue(held.runs)
        self.agent.put(f"session/destroy/{self.holder('a/.lock')}")
        status, out, err = held.ends()
        self.assertIn("Lock lost, killing child", out)
        self.assertEqual((status, err), (2, "Error running handler: signal: terminated\n"))
        with open(pid, encoding="ascii") as file:
            sleeper = file.read().strip()
        eventually(lambda: _ended(sleeper))

    def test_agent_gone(self) -> None:
        """Who cannot ask any more gives up after some attempts."""
        held = self.hold("-monitor-retry=1", "a")
        self.agent.kill()
        status, _, err = held.ends()
        self.assertEqual(status, 1)
        self.assertIn("Lock release failed: ", err)


class SemaphoreTests(LockTestCase):
    ip = f"{block(54)}.2"

    def value(self) -> Any:
        status, body = self.agent.request("GET", "kv/s/.lock?raw")
        return json.loads(body) if status == 200 else {"Holders": {}}

    def test_places(self) -> None:
        """As many as it has; the next one waits for one to be free; who is gone does not count."""
        first, _ = held = [self.hold("-n=2", "s") for _ in range(2)]
        self.assertEqual(len(self.value()["Holders"]), 2)
        self.assertEqual(self.value()["Limit"], 2)
        status, _, err = self.lock("-n=3", "s", "true")
        self.assertEqual(
            (status, err), (1, "Lock acquisition failed: semaphore limit conflict (lock: 2, local: 3)\n")
        )
        self.assertEqual(self.lock("-n=2", "-try=500ms", "s", "echo never")[:2], (1, ""))
        third = self.start("-n=2", "s", "echo third")
        eventually(lambda: len(self.agent.get("kv/s/?keys")) == 4)
        first.signal(signal.SIGINT)
        self.assertEqual(third.ends()[1], "third\n")
        first.ends()
        held[1].signal(signal.SIGTERM)
        held[1].ends()
        eventually(lambda: self.agent.get("session/list") == [])
        self.nothing_is_left()


class ConsulTests(LockTestCase):
    """Consul's command and ours want the same."""

    ip = f"{block(54)}.3"
    if why := missing_peers("consul"):
        skip = why

    def test_both_ways(self) -> None:
        theirs = [str(peers_folder() / "consul")]
        for limit in (1, 2):
            for first, second in ((theirs, OURS), (OURS, theirs)):
                held = [self.hold(f"-n={limit}", "x", program=first) for _ in range(limit)]
                waiting = self.start(f"-n={limit}", "x", "echo next", program=second)
                eventually(lambda: len(self.agent.get("session/list")) == len(held) + 1)  # noqa: B023
                self.assertTrue(waiting.runs)
                for process in held:
                    process.signal(signal.SIGTERM)
                self.assertEqual(waiting.ends()[1], "next\n")
                for process in held:
                    process.ends()
                eventually(lambda: self.agent.get("session/list") == [])


def _ended(pid: str) -> bool:
    """Whether a process is no more, or only its entry is left."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
