"""``maint``, ``monitor``, ``services`` and ``reload``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client.blocking import Client
from tests.cli.support import Result, run

OK = (200, b"")


class MaintTests(SynchronousTestCase):
    def test_node(self) -> None:
        """On with a reason, and off."""
        result = run("maint", "-enable", "-reason", "a b", answers=[OK])
        self.assertEqual((result.status, result.out), (0, "Node maintenance is now enabled\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/maintenance?enable=true&reason=a%20b"])
        result = run("maint", "-disable", answers=[OK])
        self.assertEqual((result.status, result.out), (0, "Node maintenance is now disabled\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/maintenance?enable=false"])

    def test_service(self) -> None:
        """Of one service."""
        result = run("maint", "-enable", "-service=web1", answers=[OK])
        self.assertEqual(result.out, 'Service maintenance is now enabled for "web1"\n')
        self.assertEqual(result.lines, ["PUT /v1/agent/service/maintenance/web1?enable=true"])
        text = b'No service registered with ID "x"'
        result = run("maint", "-disable", "-service=x", answers=[(404, text)])
        self.assertEqual(result.status, 1)
        self.assertEqual(
            result.err,
            f"Error disabling service maintenance: Unexpected response code: 404 ({text.decode()})\n",
        )

    def test_flags(self) -> None:
        """What makes no sense together."""
        for arguments, text in (
            (["-enable", "-disable"], "Only one of -enable or -disable may be provided"),
            (["-reason=x"], "Reason may only be provided with -enable"),
            (["-disable", "-reason=x"], "Reason may only be provided with -enable"),
            (["-service=x"], "Service requires either -enable or -disable"),
        ):
            result = run("maint", *arguments)
            self.assertEqual((result.status, result.err, result.lines), (1, text + "\n", []))

    def test_show(self) -> None:
        """What is out of use, and why; nothing if nothing is."""
        checks = {
            "c": {"Notes": "x"},
            "_service_maintenance:web1": {"ServiceID": "web1", "Notes": "slow"},
            "_node_maintenance": {"Notes": "why"},
        }
        facts = {"Config": {"NodeName": "n1"}}
        result = run("maint", answers=[(200, facts), (200, checks)])
        self.assertEqual(
            result.out,
            "Node:\n  Name:   n1\n  Reason: why\n\nService:\n  ID:     web1\n  Reason: slow\n\n",
        )
        result = run("maint", answers=[(200, facts), (200, {})])
        self.assertEqual((result.status, result.out), (0, ""))
        result = run("maint", answers=[(500, b"no")])
        self.assertEqual(result.err, "Error querying Consul agent: Unexpected response code: 500 (no)\n")


class MonitorTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """As they come; then the agent has ended."""
        result = run("monitor", answers=[(200, b"a line\nanother\n")])
        self.assertEqual(result.status, 0)
        self.assertTrue(
            result.out.startswith("a line\nanother\n\nRemote side ended the monitor!"), result.out
        )
        self.assertEqual(result.lines, ["GET /v1/agent/monitor?loglevel=INFO"])

    def test_flags(self) -> None:
        """Level and form."""
        result = run("monitor", "-log-level=debug", "-log-json", answers=[(200, b"")])
        self.assertEqual(result.lines, ["GET /v1/agent/monitor?logjson=true&loglevel=debug"])

    def test_refused(self) -> None:
        """A level that is none."""
        answer = (400, b"Bad request: Unknown log level: zzz")
        for flag, kind in ((), "monitor"), (("-log-json",), "JSON monitor"):
            result = run("monitor", "-log-level=zzz", *flag, answers=[answer])
            text = "Unexpected response code: 400 (Bad request: Unknown log level: zzz)"
            self.assertEqual((result.status, result.err), (1, f"Error starting {kind}: {text}\n"))

    def test_enough(self) -> None:
        """Ctrl-C is the usual end."""

        def stream(client: Client, call: Any) -> Iterator[bytes]:
            yield b"a line\n"
            raise KeyboardInterrupt

        self.patch(Client, "stream", stream)
        result = run("monitor")
        self.assertEqual((result.status, result.out), (0, "a line\n"))


class ReloadTests(SynchronousTestCase):
    def test_diff(self) -> None:
        """What would change, or that nothing would."""
        result = run("reload", "-diff", answers=[(200, ["add service web", "x: 1 -> 2"])])
        self.assertEqual((result.status, result.out), (0, "add service web\nx: 1 -> 2\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/reload?diff=1"])
        self.assertEqual(run("reload", "-diff", answers=[(200, [])]).out, "Nothing would change\n")
        result = run("reload", "-diff", answers=[(500, b"why")])
        self.assertEqual(result.err, "Error reloading: Unexpected response code: 500 (why)\n")


class ServicesTests(SynchronousTestCase):
    def file(self, name: str, content: str) -> str:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / name).write_text(content)
        return str(folder / name)

    def register(self, *arguments: str, count: int = 1) -> tuple[Result, list[Any]]:
        result = run("services", "register", *arguments, answers=[OK] * count)
        return result, [json.loads(body) for body in result.bodies]

    def test_flags(self) -> None:
        """One service, with what is given and no more."""
        result, bodies = self.register(
            "-name=web", "-id=w1", "-port=80", "-tag=a", "-tag=b", "-meta=k=v=w", "-address=192.0.2.1",
            "-kind=x", "-tagged-address=lan=192.0.2.2:81", "-tagged-address=v6=[2001:db8::1]:82",
        )  # fmt: skip
        self.assertEqual((result.status, result.out), (0, "Registered service: web\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/service/register"])
        self.assertEqual(
            bodies,
            [{
                "Kind": "x", "ID": "w1", "Name": "web", "Address": "192.0.2.1", "Port": 80,
                "Tags": ["a", "b"], "Meta": {"k": "v=w"},
                "TaggedAddresses": {
                    "lan": {"Address": "192.0.2.2", "Port": 81}, "v6": {"Address": "2001:db8::1", "Port": 82},
                },
            }],
        )  # fmt: skip
        self.assertEqual(self.register("-name=web")[1], [{"Name": "web"}])

    def test_files(self) -> None:
        """All that stands in files, in the spelling of the API."""
        hcl = self.file(
            "a.hcl",
            'service { name = "a" port = 8 weights { passing = 2 warning = 1 } '
            'check { tcp = "192.0.2.1:1" interval = "10s" } connect { sidecar_service {} } '
            'tagged_addresses { lan { address = "192.0.2.1" port = 8 } } }',
        )
        other = self.file("b.json", json.dumps({"services": [{"name": "b", "tags": ["x"]}, {"name": "c"}]}))
        result, bodies = self.register(hcl, other, count=3)
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual(result.out, "".join(f"Registered service: {name}\n" for name in "abc"))
        self.assertEqual(
            bodies[0],
            {
                "Name": "a", "Port": 8, "Weights": {"Passing": 2, "Warning": 1},
                "Checks": [{"TCP": "192.0.2.1:1", "Interval": "10s"}], "Connect": {"SidecarService": {}},
                "TaggedAddresses": {"lan": {"Address": "192.0.2.1", "Port": 8}},
            },
        )  # fmt: skip
        self.assertEqual(bodies[1:], [{"Name": "b", "Tags": ["x"]}, {"Name": "c"}])

    def test_nothing_in_it(self) -> None:
        """A file without services is no error."""
        result, _ = self.register(self.file("a.json", "{}"), count=0)
        self.assertEqual((result.status, result.out), (0, ""))

    def test_refused(self) -> None:
        """The first that is refused ends it."""
        path = self.file("a.json", json.dumps({"services": [{"id": "x"}, {"name": "b"}]}))
        result = run("services", "register", path, answers=[(400, b"Missing service name")])
        self.assertEqual(result.status, 1)
        self.assertEqual(
            result.err, 'Error registering service "": Unexpected response code: 400 (Missing service name)\n'
        )

    def test_wrong(self) -> None:
        """Faults of files and of flags, before anything is sent."""
        bad = self.file("bad.json", json.dumps({"service": {"name": "x", "foo": 1}}))
        duration = self.file("d.json", json.dumps({"service": {"name": "x", "check": {"ttl": "x"}}}))
        for arguments, text in (
            ([bad], f"Error: failed to parse {bad}: 1 error occurred:\n\t* invalid config key service.foo"),
            ([duration], "Error: 1 error occurred:\n\t* service[].check[].ttl: invalid duration"),
            (["none.json"], "Error: config: Open failed on none.json."),
            ([], "Service registration requires at least one argument or flags.\n"),
            (["-id=x"], "Service registration requires at least one argument or flags.\n"),
            (["-name=x", "a.json"], "Service registration requires arguments or -id, not both.\n"),
            (["-name=x", "-meta=z"], 'invalid value "z" for flag -meta: Missing "=" value in argument: z'),
            (["-name=x", "-tagged-address=lan=a"],
             "Invalid Tagged Address: address a: missing port in address\n"),
            (["-name=x", "-tagged-address=lan=a:b"], "Invalid Tagged Address: strconv.Atoi: parsing"),
            (["-name=x", "-port=a"], 'invalid value "a" for flag -port: parse error'),
        ):  # fmt: skip
            result = run("services", "register", *arguments)
            self.assertEqual((result.status, result.lines), (1, []))
            self.assertTrue(result.err.startswith(text), result.err)

    def test_deregister(self) -> None:
        """By id, or all of files."""
        result = run("services", "deregister", "-id=a/b", answers=[OK])
        self.assertEqual((result.status, result.out), (0, "Deregistered service: a/b\n"))
        self.assertEqual(result.lines, ["PUT /v1/agent/service/deregister/a/b"])
        path = self.file("a.json", json.dumps({"services": [{"id": "x", "name": "n"}, {"name": "b"}]}))
        result = run("services", "deregister", path, answers=[OK, OK])
        self.assertEqual(result.out, "Deregistered service: x\nDeregistered service: b\n")
        result = run("services", "deregister", "-id=x", answers=[(500, b"no")])
        self.assertEqual(result.err, 'Error deregistering service "x": Unexpected response code: 500 (no)\n')
        for arguments, text in (
            ([], "Service deregistration requires at least one argument or -id.\n"),
            (["-id=x", "a.json"], "Service deregistration requires arguments or -id, not both.\n"),
        ):
            result = run("services", "deregister", *arguments)
            self.assertEqual((result.status, result.err), (1, text))
