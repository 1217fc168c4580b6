"""Checks that run programs."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.script import ScriptProbe, kill_group

reactor: Any = any_reactor


def definition(*args: str, **fields: Any) -> CheckType:
    return CheckType(check_id="c", kind="script", args=args, timeout_s=0.3, **fields)


class RealTests(TestCase):
    """With real programs."""

    async def outcome(self, *args: str, **fields: Any) -> tuple[str, str]:
        return await ScriptProbe(definition(*args, **fields), reactor).run()

    async def test_outcomes(self) -> None:
        """The exit status decides; both outputs are kept, in the order in which they come."""
        for script, expected in (
            ("echo out; sleep 0.05; echo err >&2", ("passing", "out\nerr\n")),
            ("echo careful; exit 1", ("warning", "careful\n")),
            ("exit 2", ("critical", "")),
            ("echo a; kill -9 $$", ("critical", "a\n")),
            ("cat", ("passing", "")),
        ):
            self.assertEqual(await self.outcome("sh", "-c", script), expected)

    async def test_long_output(self) -> None:
        script = "yes | head -c 10000; echo END"
        _, output = await self.outcome("sh", "-c", script, output_bytes_max=20)
        self.assertEqual(output, "Captured 20 of 10004 bytes\n...\n" + "y\n" * 8 + "END\n")

    async def test_the_whole_group_ends(self) -> None:
        """Also what the program has started, which holds its output open."""
        probe = ScriptProbe(definition("sh", "-c", "echo $$; sleep 60 & sleep 60"), reactor)
        run = probe.run()
        for _ in range(6000):
            if probe._tail.total:
                break
            await _turn()
        pid = int(probe._tail.text())
        run.cancel()
        await self.assertFailure(run, CancelledError)
        self.assertEqual(probe.timed_out(), ("critical", f"Timed out (300ms) running check\n\n{pid}\n"))
        for _ in range(6000):
            try:
                os.killpg(pid, 0)
            except ProcessLookupError:
                return
            await _turn()
        self.fail("something of the group lives on")


async def _turn() -> None:
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.01)


class FakeTransport:
    pid: int | None = 77

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.closed = False
        self.gone = False

    def closeStdin(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready()
        self.signals.append(name)

    def loseConnection(self) -> None:
        self.closed = True


class FakeReactor:
    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.spawned: list[Any] = []
        self.transport = FakeTransport()

    def spawnProcess(self, protocol: Any, executable: str, args: Any, **more: Any) -> None:
        if self.error is not None:
            raise self.error
        self.spawned.append((executable, args))
        self.protocol = protocol
        protocol.makeConnection(self.transport)


class ScriptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.killed: list[int] = []
        self.reactor = FakeReactor()

    def probe(self, *known: str) -> ScriptProbe:
        return ScriptProbe(
            definition("prog", "arg"),
            self.reactor,
            lambda name: f"/bin/{name}" if name in known else None,
            self.killed.append,
        )

    def test_a_group_of_its_own(self) -> None:
        self.probe("prog", "setsid").run()
        self.assertEqual(self.reactor.spawned, [("/bin/setsid", ["setsid", "prog", "arg"])])

    def test_without_setsid(self) -> None:
        """Only the program itself is killed."""
        for gone, signals in ((False, ["KILL"]), (True, [])):
            self.reactor = FakeReactor()
            self.reactor.transport.gone = gone
            run = self.probe("prog").run()
            self.assertEqual(self.reactor.spawned, [("/bin/prog", ["prog", "arg"])])
            run.cancel()
            self.failureResultOf(run, CancelledError)
            self.assertEqual((self.reactor.transport.signals, self.killed), (signals, []))
            self.assertTrue(self.reactor.transport.closed)

    def test_killed(self) -> None:
        """What comes after the end is ignored."""
        run = self.probe("prog", "setsid").run()
        run.cancel()
        self.failureResultOf(run, CancelledError)
        self.assertEqual(self.killed, [77])
        self.reactor.protocol.processEnded(Failure(ProcessDone(0)))

    def test_ends(self) -> None:
        for reason, status in (
            (ProcessDone(0), "passing"),
            (ProcessTerminated(1), "warning"),
            (ProcessTerminated(3), "critical"),
            (ProcessTerminated(None, 9), "critical"),
        ):
            run = self.probe("prog").run()
            self.reactor.protocol.errReceived(b"why")
            self.reactor.protocol.processEnded(Failure(reason))
            self.assertEqual(self.successResultOf(run), (status, "why"))

    def test_not_there(self) -> None:
        text = 'exec: "prog": executable file not found in $PATH'
        self.assertEqual(self.successResultOf(self.probe().run()), ("critical", text))
        probe = ScriptProbe(definition("/no/such"), self.reactor, lambda name: None)
        text = "fork/exec /no/such: no such file or directory"
        self.assertEqual(self.successResultOf(probe.run()), ("critical", text))
        probe = ScriptProbe(definition(__file__), self.reactor, lambda name: None)
        text = f"fork/exec {__file__}: permission denied"  # it is there, but no program
        self.assertEqual(self.successResultOf(probe.run()), ("critical", text))

    def test_not_to_be_run(self) -> None:
        self.reactor.error = OSError(12, "Cannot allocate memory")
        text = "fork/exec prog: Cannot allocate memory"
        self.assertEqual(self.successResultOf(self.probe("prog").run()), ("critical", text))

    def test_timeout_without_output(self) -> None:
        probe = self.probe("prog")
        probe.run()
        self.assertEqual(probe.timed_out(), ("critical", "Timed out (300ms) running check"))

    def test_a_group_that_is_gone(self) -> None:
        """Is no error."""
        kill_group(2**22 + 7)
