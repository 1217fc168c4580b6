"""``watch``."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run

ENTRY = {"LockIndex": 0, "Key": "a", "Flags": 0, "Value": "MQ==", "CreateIndex": 5, "ModifyIndex": 6}


class PrintTests(SynchronousTestCase):
    """Without a child."""

    def test_key(self) -> None:
        result = run("watch", "-type=key", "-key=a", "-datacenter=dc2", answers=[(200, [ENTRY])])
        self.assertEqual(result.lines, ["GET /v1/kv/a?dc=dc2"])
        self.assertEqual(json.loads(result.out), {**ENTRY, "Session": ""})
        self.assertTrue(result.out.startswith('{\n    "Key": "a",\n'))

    def test_service(self) -> None:
        arguments = ("-type=service", "-service=web", "-tag=x", "-tag=y", "-passingonly=true", "-stale")
        result = run("watch", *arguments, answers=[(200, [])])
        self.assertEqual(result.lines, ["GET /v1/health/service/web?tag=x&tag=y&passing=1&stale="])
        self.assertEqual((result.status, result.out), (0, "[]\n"))

    def test_refused(self) -> None:
        for arguments, text in (
            ((), "Watch type must be specified\n\nUsage: pyconsul watch"),
            (("-type=zzz",), "Unsupported watch type: zzz\n"),
            (("-type=nodes", "-key=a"), "Invalid parameters: [key]\n"),
            (("-type=connect_roots",), "Type connect_roots is not supported in the CLI tool\n"),
            (
                ("-type=service", "-service=a", "-passingonly=x"),
                'Failed to parse passingonly flag: strconv.ParseBool: parsing "x": invalid syntax\n',
            ),
        ):
            result = run("watch", *arguments)
            self.assertEqual(result.status, 1)
            self.assertTrue(result.err.startswith(text), result.err)

    def test_agent_refuses(self) -> None:
        result = run("watch", "-type=nodes", answers=[(500, b"No cluster leader")])
        self.assertEqual(result.status, 1)
        text = "Error querying Consul agent: Unexpected response code: 500 (No cluster leader)\n"
        self.assertEqual(result.err, text)


class ChildTests(SynchronousTestCase):
    """With a child, until that fails."""

    def test_runs_until_it_fails(self) -> None:
        path = self.mktemp()
        line = f'cat >> {path}; echo " $CONSUL_INDEX" >> {path}; test $CONSUL_INDEX != 7'
        answers = [
            (200, body, f"X-Consul-Index: {index}\r\n") for body, index in (([1], 5), ([1], 6), ([2], 7))
        ]
        result = run("watch", "-type=nodes", line, answers=answers)
        self.assertEqual((result.status, result.err), (1, "Error executing handler: exit status 1\n"))
        self.assertEqual(
            result.lines, [f"GET /v1/catalog/nodes{query}" for query in ("", "?index=5", "?index=6")]
        )
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "[1]\n 5\n[2]\n 7\n")

    def test_enough(self) -> None:
        """Who ends it by a signal ends it well."""
        before = signal.getsignal(signal.SIGTERM)

        def interrupted(*arguments: object, **more: object) -> None:
            handler = signal.getsignal(signal.SIGTERM)
            assert callable(handler)
            handler(signal.SIGTERM, None)

        self.patch(subprocess, "run", interrupted)
        result = run("watch", "-type=nodes", "true", answers=[(200, [1], "X-Consul-Index: 5\r\n")])
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertIs(signal.getsignal(signal.SIGTERM), before)

    def test_retries(self) -> None:
        waits: list[float] = []
        self.patch(time, "sleep", waits.append)
        answers = [(500, b"x"), (500, b"x"), (200, [])]
        result = run("watch", "-type=nodes", "-shell=false", "false", answers=answers)
        self.assertEqual(waits, [5.0, 20.0])
        text = "Watch errored: type=nodes error=Unexpected response code: 500 (x) retry=5s\n"
        self.assertIn(text, result.err)

    def test_no_such_program(self) -> None:
        result = run("watch", "-type=nodes", "-shell=false", "no-such-program", answers=[(200, [])])
        self.assertEqual(result.status, 1)
        why = 'exec: "no-such-program": executable file not found in $PATH'
        self.assertEqual(result.err, f"Error starting handler: {why}\n")
        result = run("watch", "-type=nodes", "-shell=false", "/no/such", answers=[(200, [])])
        self.assertEqual(
            result.err, "Error starting handler: fork/exec /no/such: no such file or directory\n"
        )
