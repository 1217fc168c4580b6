"""``exec``: the job, whom it is for, and what is made of the answers."""

from __future__ import annotations

import base64
import io
import json
import signal
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli import exec as module
from pyconsul.cli.command import Invocation, Terminal
from pyconsul.cli.main import main
from pyconsul.client import kv
from pyconsul.client.call import Answer, Call, Response
from pyconsul.structs.durations import parse_ns

SESSION = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"
ROOT = f"_rexec/{SESSION}/"
RENEW = f"PUT /v1/session/renew/{SESSION}"


class World:
    """An agent, what the nodes write meanwhile, and time.

    :ivar comes: what nodes write, by the time at which they do.
    :ivar refuses: statuses by the beginnings of requests.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.comes: dict[float, dict[str, bytes]] = {}
        self.refuses: dict[str, int] = {}
        self.lines: list[str] = []
        self.bodies: list[Any] = []
        self.servers: list[Any] = [{"Node": {"Node": "r2"}}]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def written(self) -> dict[str, bytes]:
        return {
            key: value for at, part in self.comes.items() if at <= self.now for key, value in part.items()
        }

    # ------------------------------------------------------------ in place of the client

    def do(self, call: Call[Any]) -> Any:
        return call.decode(self._answer(call))

    def ask(self, call: Call[Any]) -> Answer[Any]:
        return Answer(self.do(call), {"x-consul-index": "7"})

    def close(self) -> None:
        self.lines.append("close")

    def _answer(self, call: Call[Any]) -> Response:
        line = f"{call.method} {call.target()}"
        self.lines.append(line)
        self.bodies.append(json.loads(call.body or b"null"))
        for begin, status in self.refuses.items():
            if line.startswith(begin):
                return Response(status, "", {}, b"why")
        return Response(200, "", {}, json.dumps(self._value(call, line)).encode())

    def _value(self, call: Call[Any], line: str) -> Any:
        if line.startswith("GET /v1/agent/self"):
            return {"Config": {"NodeName": "n1", "Datacenter": "dc1"}}
        if line.startswith("GET /v1/health/"):
            return self.servers
        if line.startswith("PUT /v1/session/create"):
            return {"ID": SESSION}
        if line.startswith("PUT /v1/event"):
            return {"ID": "e"}
        if line.startswith("GET /v1/kv/"):
            if "?keys" in line:
                return self._keys(call)
            value = self.written()[call.path.partition(SESSION + "/")[2]]
            return [{"Key": "k", "Value": base64.b64encode(value).decode() or None}]
        return [{}] if line.startswith(RENEW) else True

    def _keys(self, call: Call[Any]) -> list[str]:
        """At once if it is the first time, else when there is news or after the wait."""
        query = dict(call.query)
        if query["index"]:
            until = self.now + parse_ns(str(query["wait"])) / 1e9
            self.now = min([until, *(at for at in self.comes if at > self.now)])
        return [ROOT + name for name in ("job", *self.written())]


class ExecTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        for name in ("monotonic", "sleep"):
            patched = mock.patch(f"time.{name}", getattr(self.world, name))
            self.addCleanup(patched.stop)
            patched.start()
        self.patch(Invocation, "client", lambda invocation: self.world)

    def run_(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run the command: status, output, errors."""
        out, err = io.StringIO(), io.StringIO()
        status = main(["exec", *arguments], Terminal(io.BytesIO(stdin), out, err, {}))
        return status, out.getvalue(), err.getvalue()

    def job(self, *arguments: str, stdin: bytes = b"") -> Any:
        """What is put into the store."""
        status, _, err = self.run_(*arguments, stdin=stdin)
        self.assertEqual((status, err), (0, ""))
        (job,) = [body for body in self.world.bodies if isinstance(body, dict) and "Wait" in body]
        self.world.bodies.clear()
        return job


class JobTests(ExecTestCase):
    def test_requests(self) -> None:
        """Nobody answers."""
        status, out, _ = self.run_("-node=n.*", "-service=web", "-tag=v1", "uptime")
        self.assertEqual((status, out), (0, "0 / 0 node(s) completed / acknowledged\n"))
        self.assertEqual(
            self.world.lines,
            [
                "GET /v1/agent/self",
                "PUT /v1/session/create",
                f"PUT /v1/kv/{ROOT}job?acquire={SESSION}",
                "PUT /v1/event/fire/_rexec?node=n.%2A&service=web&tag=v1",
                f"GET /v1/kv/{ROOT}?keys&wait=2s",
                f"GET /v1/kv/{ROOT}?keys&index=7&wait=2s",
                f"PUT /v1/session/destroy/{SESSION}",
                f"DELETE /v1/kv/{ROOT}?recurse",
            ],
        )
        self.assertEqual(self.world.bodies[1], {"Behavior": "delete", "Name": "Remote Exec", "TTL": "15s"})
        self.assertEqual(self.world.bodies[3], {"Prefix": "_rexec", "Session": SESSION})
        self.assertAlmostEqual(self.world.now, 2.2)

    def test_line_script_or_arguments(self) -> None:
        wait = 2_000_000_000
        self.assertEqual(self.job("echo", "a b", "$HOME"), {"Command": "echo a b $HOME", "Wait": wait})
        self.assertEqual(self.job("-shell=false", "echo", "a b"), {"Args": ["echo", "a b"], "Wait": wait})
        self.assertEqual(self.job("-", stdin=b"echo \xff\n"), {"Script": "ZWNobyD/Cg==", "Wait": wait})

    def test_waiting(self) -> None:
        self.assertEqual(self.job("-wait=0s", "-wait-repl=1.5s", "x")["Wait"], 0)
        self.assertEqual(self.world.now, 1.5)
        self.job("-wait=0s", "-wait-repl=-1s", "x")
        self.assertEqual(self.world.now, 1.5)

    def test_prefix(self) -> None:
        self.run_("-wait=0s", "-prefix=/a//b/", "x")
        self.assertEqual(self.world.lines[2], f"PUT /v1/kv/a/b/{SESSION}/job?acquire={SESSION}")
        self.assertEqual(self.world.bodies[3]["Prefix"], "a//b")

    def test_refused_here(self) -> None:
        for arguments, why in (
            ([], "Must specify a command to execute\n\nUsage: "),
            ([""], "Must specify a command to execute\n\nUsage: "),
            (["-"], "Must specify a command to execute: there is nothing on standard input\n"),
            (["-shell=false", "-"], "Cannot configure -shell=false when reading from stdin\n"),
            (["-tag=x", "x"], "Cannot provide tag filter without service filter.\n"),
            (["-node=(", "x"], "Failed to compile node filter regexp: "),
            (["-wait=soon", "x"], 'invalid value "soon" for flag -wait: time: invalid duration "soon"\n'),
            (["-wait-repl=1", "x"], 'invalid value "1" for flag -wait-repl: '),
        ):
            status, _, err = self.run_(*arguments)
            self.assertEqual((status, self.world.lines), (1, []))
            self.assertTrue(err.startswith(why), err)

    def test_refused_there(self) -> None:
        """Whatever was begun is taken back."""
        for begin, why, ended in (
            ("GET /v1/agent", "Unable to look up agent info: ", 0),
            ("PUT /v1/session/create", "Failed to create session: ", 0),
            ("PUT /v1/kv/", "Failed to create job file: ", 2),
            ("PUT /v1/event/", "Failed to fire remote execution event: ", 2),
        ):
            self.world.lines.clear()
            self.world.refuses = {begin: 500}
            status, out, err = self.run_("x")
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(err, f"{why}Unexpected response code: 500 (why)\n")
            last = self.world.lines[-ended:] if ended else []
            self.assertEqual(["destroy" in line or "DELETE" in line for line in last], [True] * ended)

    def test_session_is_lost_at_once(self) -> None:
        self.patch(kv, "put", lambda *given, **more: Call("PUT", "/x", lambda response: False))
        status, _, err = self.run_("x")
        self.assertEqual((status, err), (1, "Failed to create job file: the session was lost\n"))

    def test_another_datacenter(self) -> None:
        self.world.comes[0] = {"r2/exit": b"0"}
        status, out, _ = self.run_("-verbose", "-datacenter=dc2", "x")
        self.assertEqual(status, 0)
        self.assertEqual(
            self.world.bodies[2],
            {
                "Behavior": "delete", "Name": "Remote Exec via n1@dc1", "Node": "r2", "NodeChecks": [],
                "TTL": "15s",
            },
        )  # fmt: skip
        self.assertIn("Binding session to remote node r2@dc2\n", out)
        self.assertEqual(self.world.lines[1], "GET /v1/health/service/consul?passing&dc=dc2")
        self.assertEqual([line for line in self.world.lines[1:] if "dc=dc2" not in line], [])

    def test_own_datacenter_by_name(self) -> None:
        self.run_("-datacenter=dc1", "x")
        self.assertEqual([line for line in self.world.lines if "dc=" in line], [])

    def test_no_server_there(self) -> None:
        self.world.servers = []
        status, _, err = self.run_("-datacenter=dc2", "x")
        self.assertEqual(status, 1)
        self.assertIn("no server there passes its checks", err)


class AnswerTests(ExecTestCase):
    def test_all_is_well(self) -> None:
        """What a node prints is shown before its end, whatever the order of the keys."""
        self.world.comes[1] = {"n1/ack": b"", "n1/exit": b"0", "n1/out/0": b"one\ntwo\n", "n1/out/1": b""}
        status, out, err = self.run_("x")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            "    n1: one\n    n1: two\n    n1:\n==> n1: finished with exit code 0\n"
            "1 / 1 node(s) completed / acknowledged\n",
        )

    def test_verbose(self) -> None:
        self.world.comes = {0: {"n1/ack": b""}, 1: {"n1/out/0": b""}, 3: {"n1/exit": b"0"}}
        _, out, _ = self.run_("-verbose", "x")
        self.assertEqual(
            out.splitlines(),
            [
                f"Created remote execution session: {SESSION}",
                "Uploaded remote execution spec",
                "Fired remote execution event: e",
                "==> n1: acknowledged",
                "==> n1: heartbeat received",
                "==> n1: finished with exit code 0",
                "1 / 1 node(s) completed / acknowledged",
                "Completed in 2.80 seconds",
            ],
        )

    def test_failed(self) -> None:
        self.world.comes[1] = {"n1/ack": b"", "n1/exit": b"7", "n2/ack": b"", "n2/exit": b"0"}
        status, out, _ = self.run_("x")
        self.assertEqual(status, 2)
        self.assertIn("==> n1: finished with exit code 7\n", out)

    def test_some_still_run(self) -> None:
        """They are given twice the time; those that do not end count as failed."""
        self.world.comes = {1: {"n1/ack": b""}, 4.9: {"n1/exit": b"0"}}
        self.assertEqual(self.run_("x")[0], 0)
        self.assertAlmostEqual(self.world.now, 6.9)
        self.world.now = 0
        self.world.comes = {1: {"n1/ack": b""}, 5.1: {"n1/exit": b"0"}}
        status, out, _ = self.run_("x")
        self.assertEqual((status, out), (2, "0 / 1 node(s) completed / acknowledged\n"))
        self.assertAlmostEqual(self.world.now, 5)

    def test_long_wait(self) -> None:
        """The session is renewed."""
        self.run_("-wait=12s", "-stale", "x")
        self.assertEqual(
            self.world.lines[4:-2],
            [
                f"GET /v1/kv/{ROOT}?keys&stale&wait=5s",
                f"GET /v1/kv/{ROOT}?keys&stale&index=7&wait=5s",
                RENEW,
                f"GET /v1/kv/{ROOT}?keys&stale&index=7&wait=5s",
                RENEW,
                f"GET /v1/kv/{ROOT}?keys&stale&index=7&wait=2s",
            ],
        )

    def test_odd_answers(self) -> None:
        self.world.comes[1] = {"n1/ack": b"", "n1/exit": b"abc", "n2/foo": b"", "n3": b""}
        status, _, err = self.run_("x")
        self.assertEqual(status, 2)
        self.assertEqual(
            err,
            "Failed to parse exit code of n1: b'abc'\n"
            "Unknown key 'n2/foo', ignoring.\nUnknown key 'n3', ignoring.\n",
        )

    def test_answer_that_went(self) -> None:
        self.world.comes[1] = {"n1/out/0": b"x"}
        self.world.refuses[f"GET /v1/kv/{ROOT}n1/out/0"] = 404
        self.assertEqual(self.run_("x")[:2], (0, "0 / 0 node(s) completed / acknowledged\n"))

    def test_agent_fails(self) -> None:
        self.world.comes[1] = {"n1/exit": b"0"}
        for begin, number, why in (
            (f"GET /v1/kv/{ROOT}?keys", 500, "Failed to list the answers: Unexpected response code: 500\n"),
            (f"GET /v1/kv/{ROOT}n1", 500, "Failed to read 'n1/exit': Unexpected response code: 500\n"),
            (RENEW, 404, "Failed to renew session: it has ended\n"),
        ):
            self.world.refuses = {begin: number}
            status, _, err = self.run_("-wait=60s", "x")
            self.assertEqual((status, err), (1, why))
            self.assertIn(f"PUT /v1/session/destroy/{SESSION}", self.world.lines)

    def test_interrupted(self) -> None:
        """The session ends, so nothing is left, and the handlers are what they were."""
        before = signal.getsignal(signal.SIGTERM)

        def interrupt(seconds: float) -> None:
            handler: Callable[..., Any] = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]
            handler(signal.SIGTERM, None)

        with mock.patch("time.sleep", interrupt):
            status, out, _ = self.run_("x")
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            self.world.lines[3:], [f"PUT /v1/session/destroy/{SESSION}", f"DELETE /v1/kv/{ROOT}?recurse"]
        )
        self.assertIs(signal.getsignal(signal.SIGTERM), before)

    def test_clean_up_fails(self) -> None:
        """It is not worth a word: the session ends by itself."""
        self.world.refuses["PUT /v1/session/destroy"] = 500
        self.assertEqual(self.run_("x")[0::2], (0, ""))

    def test_help(self) -> None:
        self.assertIn("disable_remote_exec", module.COMMAND.help())
