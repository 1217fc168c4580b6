"""Remote execution: what an agent does with the event, and what it writes into the store."""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import executing
from pyconsul.agent.executing import FLUSH_S, PIECE_BYTES, RemoteExecution
from pyconsul.errors import PyconsulError
from pyconsul.structs.event import UserEvent
from pyconsul.structs.kv import DirEntry, IndexedDirEntries, KeyRequest, KVSRequest

SESSION = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"
ROOT = f"_rexec/{SESSION}/"


class Program:
    """A process that only does what the test says."""

    def __init__(self, protocol: Any, executable: str, args: list[str]) -> None:
        self.protocol, self.executable, self.args = protocol, executable, args
        self.pid = 4711
        self.paused = self.fed = False
        self.script = b""
        self.mode = 0
        if os.path.basename(args[-1]).startswith("rexec"):
            with open(args[-1], "rb") as file:
                self.script = file.read()
            self.mode = stat.S_IMODE(os.stat(args[-1]).st_mode)
        protocol.makeConnection(self)

    def closeStdin(self) -> None:
        self.fed = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def print(self, data: bytes) -> None:
        self.protocol.outReceived(data)

    def end(self, status: int | None = 0, number: int | None = None) -> None:
        reason = ProcessDone(0) if status == 0 else ProcessTerminated(status, number)
        self.protocol.processEnded(Failure(reason))


class Reactor(Clock):
    """A clock that starts programs."""

    def __init__(self) -> None:
        super().__init__()
        self.programs: list[Program] = []
        self.problem: Exception | None = None

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **more: Any) -> Program:
        if self.problem is not None:
            raise self.problem
        self.programs.append(Program(protocol, executable, args))
        return self.programs[-1]


class ExecutingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.store: dict[str, bytes] = {}
        self.asked: list[tuple[str, Any]] = []
        self.behind = False
        self.session_lives: Any = True
        self.execution = RemoteExecution("n1", "dc1", self.ask, self.reactor)
        self.patch(executing, "shell", lambda line: ["/bin/sh", "-c", line])

    def ask(self, method: str, request: Any) -> Any:
        """The servers, one of which may be behind."""
        self.asked.append((method, request))
        if isinstance(request, KeyRequest):
            value = self.store.get(request.key)
            if value is None or (self.behind and request.allow_stale):
                return IndexedDirEntries()
            return IndexedDirEntries(entries=[DirEntry(key=request.key, value=value)])
        assert isinstance(request, KVSRequest)
        if isinstance(self.session_lives, Exception):
            raise self.session_lives
        if isinstance(self.session_lives, Deferred):
            return self.session_lives.addCallback(lambda _: self.write(request))
        return self.write(request) if self.session_lives else False

    def write(self, request: KVSRequest) -> bool:
        self.assertEqual((request.op, request.dir_ent.session), ("lock", SESSION))
        self.store[request.dir_ent.key] = request.dir_ent.value or b""
        return True

    def call(self, job: dict[str, Any] | None, prefix: str = "_rexec") -> Program | None:
        """Have the event come; the program that was started, if one was."""
        if job is not None:
            self.store[ROOT + "job"] = json.dumps(job).encode()
        payload = json.dumps({"Prefix": prefix, "Session": SESSION}).encode()
        self.execution(UserEvent(id="e", name="_rexec", payload=payload))
        return self.reactor.programs[-1] if self.reactor.programs else None

    def begun(self, job: dict[str, Any]) -> Program:
        program = self.call(job)
        assert program is not None
        return program

    def written(self) -> dict[str, bytes]:
        """What this node has written, without the common beginning."""
        root = ROOT + "n1/"
        return {key[len(root) :]: value for key, value in self.store.items() if key.startswith(root)}


class JobTests(ExecutingTestCase):
    def test_line_of_a_shell(self) -> None:
        program = self.begun({"Command": "echo $HOME", "Wait": 2_000_000_000})
        self.assertEqual(program.args, ["/bin/sh", "-c", "echo $HOME"])
        self.assertTrue(program.fed)
        self.assertEqual(self.written(), {"ack": b""})
        program.print(b"hello\n")
        program.end()
        self.assertEqual(self.written(), {"ack": b"", "out/00000": b"hello\n", "exit": b"0"})
        self.assertEqual([method for method, _ in self.asked], ["KVS.Get"] + 3 * ["KVS.Apply"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_arguments(self) -> None:
        program = self.begun({"Args": ["cat", "a b"], "Wait": 0})
        self.assertEqual(program.args, ["cat", "a b"])
        self.assertTrue(program.executable.endswith("/cat"))
        program.end(3)
        self.assertEqual(self.written(), {"ack": b"", "exit": b"3"})

    def test_script(self) -> None:
        script = b"#!/bin/sh\necho \xff\n"
        program = self.begun({"Script": base64.b64encode(script).decode(), "Wait": 1})
        path = program.args[-1]
        self.assertEqual((program.script, program.mode), (script, 0o700))
        self.assertTrue(os.path.exists(path))
        program.end()
        self.assertFalse(os.path.exists(path))

    def test_script_that_removed_itself(self) -> None:
        program = self.begun({"Script": "ZWNobw==", "Wait": 1})
        os.unlink(program.args[-1])
        program.end()
        self.assertEqual(self.written()["exit"], b"0")

    def test_ended_by_a_signal(self) -> None:
        self.begun({"Command": "x"}).end(None, 9)
        self.assertEqual(self.written()["exit"], b"-1")

    def test_no_such_program(self) -> None:
        self.assertIsNone(self.call({"Args": ["no-such-program"]}))
        written = self.written()
        self.assertEqual(written["exit"], b"255")
        self.assertIn(b"not found", written["out/00000"])

    def test_cannot_be_started(self) -> None:
        for problem in (OSError(11, "no more processes"), ValueError("embedded null byte")):
            self.reactor.problem = problem
            self.call({"Command": "x"})
            self.assertEqual(self.written()["exit"], b"255")
            self.assertIn(str(problem).encode(), self.written()["out/00000"])

    def test_another_prefix(self) -> None:
        """Slashes at its ends or in a row do not count."""
        self.store[f"a/b/{SESSION}/job"] = b'{"Command": "x"}'
        program = self.call(None, "/a//b/")
        assert program is not None
        program.end()
        self.assertEqual(self.store[f"a/b/{SESSION}/n1/exit"], b"0")

    def test_server_that_is_behind(self) -> None:
        self.behind = True
        self.begun({"Command": "x"}).end()
        self.assertEqual([r.allow_stale for m, r in self.asked if m == "KVS.Get"], [True, False])

    def test_nothing_to_do(self) -> None:
        """No job, or one that makes no sense: nothing is run or written."""
        self.assertIsNone(self.call(None))
        for bad in (b"", b"[]", b"{", b'{"Command": 5}', b'{"Script": "%"}'):
            self.store[ROOT + "job"] = bad
            self.assertIsNone(self.call(None))
        self.assertEqual(self.written(), {})

    def test_events_that_make_no_sense(self) -> None:
        for payload in (None, b"", b"{}", b"null", b'{"Prefix": 1, "Session": "x"}', b"\xff"):
            self.execution(UserEvent(id="e", name="_rexec", payload=payload))
        self.assertEqual(self.asked, [])

    def test_session_is_gone(self) -> None:
        for answer in (False, PyconsulError("invalid session")):
            self.session_lives = answer
            self.assertIsNone(self.call({"Command": "x"}))

    def test_many(self) -> None:
        """Only so many run at a time; a place that is free again is used."""
        for _ in range(executing.JOBS_MAX + 3):
            self.call({"Command": "x"})
        self.assertEqual(len(self.reactor.programs), executing.JOBS_MAX)
        self.reactor.programs[0].end()
        self.call({"Command": "x"})
        self.assertEqual(len(self.reactor.programs), executing.JOBS_MAX + 1)
        for program in self.reactor.programs[1:]:
            program.end()

    def test_bug(self) -> None:
        """One is told, and the place is free again."""
        self.session_lives = ZeroDivisionError("a bug")
        self.call({"Command": "x"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.session_lives = True
        self.begun({"Command": "x"}).end()


class OutputTests(ExecutingTestCase):
    def outputs(self) -> list[bytes]:
        return [value for key, value in self.written().items() if key.startswith("out/")]

    def test_gathered_for_a_moment(self) -> None:
        program = self.begun({"Command": "x", "Wait": 60_000_000_000})
        program.print(b"a")
        self.reactor.advance(FLUSH_S / 2)
        program.print(b"b")
        self.assertEqual(self.outputs(), [])
        self.reactor.advance(FLUSH_S / 2)
        self.assertEqual(self.outputs(), [b"ab"])
        program.end()
        self.assertEqual(self.outputs(), [b"ab"])

    def test_pieces(self) -> None:
        program = self.begun({"Command": "x", "Wait": 60_000_000_000})
        program.print(b"x" * (2 * PIECE_BYTES + 10))
        self.assertEqual([len(piece) for piece in self.outputs()], [PIECE_BYTES, PIECE_BYTES])
        self.reactor.advance(FLUSH_S)
        self.assertEqual(sorted(self.written()), ["ack", "out/00000", "out/00001", "out/00002"])
        self.assertEqual(self.written()["out/00002"], b"x" * 10)
        program.end()

    def test_heartbeat(self) -> None:
        """A node that has nothing to say for as long as the caller waits says that it is there."""
        program = self.begun({"Command": "x", "Wait": 2_000_000_000})
        self.reactor.advance(1.9)
        self.assertEqual(self.outputs(), [])
        self.reactor.advance(0.2)
        self.reactor.advance(2)
        self.assertEqual(self.outputs(), [b"", b""])
        program.end()

    def test_heartbeat_is_not_too_fast(self) -> None:
        for wait in (0, -5, 1000):
            program = self.begun({"Command": "x", "Wait": wait})
            self.reactor.advance(FLUSH_S * 0.9)
            self.assertEqual(self.outputs(), [])
            program.end()

    def test_slow_store(self) -> None:
        """The program waits while much is on its way, and goes on later."""
        program = self.begun({"Command": "x", "Wait": 60_000_000_000})
        slow: Deferred[None] = Deferred()
        self.session_lives = slow
        program.print(b"x" * PIECE_BYTES)
        program.print(b"y" * executing.PENDING_BYTES_MAX)
        self.assertFalse(program.paused)
        program.print(b"z")
        program.print(b"z")
        self.assertTrue(program.paused)
        self.session_lives = True
        slow.callback(None)
        self.assertFalse(program.paused)
        program.end()
        self.assertEqual(len(b"".join(self.outputs())), PIECE_BYTES + executing.PENDING_BYTES_MAX + 2)
        self.assertEqual(self.written()["exit"], b"0")

    def test_nobody_listens_any_more(self) -> None:
        """The program runs on, and is not held up."""
        program = self.begun({"Command": "x", "Wait": 60_000_000_000})
        slow: Deferred[None] = Deferred()
        self.session_lives = slow
        program.print(b"x" * PIECE_BYTES)
        program.print(b"y" * (executing.PENDING_BYTES_MAX + 1))
        self.assertTrue(program.paused)
        self.session_lives = PyconsulError("invalid session")
        slow.callback(None)
        self.assertFalse(program.paused)
        program.print(b"z" * 2 * executing.PENDING_BYTES_MAX)
        self.assertFalse(program.paused)
        program.end()
        self.assertNotIn("exit", self.written())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_endless(self) -> None:
        self.patch(executing, "OUTPUT_BYTES_MAX", 10)
        program = self.begun({"Command": "x", "Wait": 60_000_000_000})
        program.print(b"123456")
        program.print(b"789012")
        program.print(b"345")
        program.end()
        self.assertEqual(self.outputs(), [b"123456789012\n(the rest of the output is left out)\n"])
