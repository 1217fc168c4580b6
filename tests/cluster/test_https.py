"""HTTPS of real agents: with Python, curl and Consul's own command line, with good certificates and bad."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from pyconsul.client import kv
from pyconsul.client.blocking import Client
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import PyconsulError
from tests.checks.certificates import CLIENT, SERVER, Authority
from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import ROOT, WITHIN_S, Agent, ProcessTestCase, block, eventually, need

BLOCK = block(62)
IP = f"{BLOCK}.1"


class HttpsTestCase(ProcessTestCase):
    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.authority, self.other = Authority(), Authority()
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem())
        self.cert, self.key = self.authority.write(
            self.folder / "server", "server.dc1.consul", "localhost", IP
        )
        self.agents: list[Agent] = []

    def agent(self, *settings: str) -> Agent:
        """An agent with HTTPS, not yet started."""
        files = f'ca_file = "{self.ca}" cert_file = "{self.cert}" key_file = "{self.key}"'
        arguments = [part for text in (files, "ports { https = 8501 }", *settings) for part in ("-hcl", text)]
        agent = Agent(self, str(self.folder), IP, "n1", "-server", "-bootstrap-expect=1", *arguments)
        self.agents.append(agent)
        return agent

    def started(self, *settings: str) -> Agent:
        """An agent that has a leader."""
        agent = self.agent(*settings).start()
        eventually(lambda: agent.get("status/leader"))
        return agent

    def end(self, **given: Any) -> Endpoint:
        return Endpoint(f"https://{IP}:8501", **{"ca_file": str(self.ca), **given})

    def ask(self, **given: Any) -> bytes:
        """A value, read over a connection of its own."""
        with Client(self.end(**given)) as client:
            return client.do(kv.value("a")) or b""

    def refused(self, **given: Any) -> str:
        return str(self.assertRaises(PyconsulError, self.ask, **given))

    def pair(self, name: str, by: Authority | None = None, **how: Any) -> dict[str, str]:
        """A certificate for a client, in files."""
        cert, key = (by or self.authority).write(self.folder / name, name, **how)
        return {"client_cert": str(cert), "client_key": str(key)}


class HttpsTests(HttpsTestCase):
    def test_the_interface(self) -> None:
        """All of it is there: reads and writes small and large, and what waits for a change."""
        agent = self.started()
        agent.put("kv/a", b"v")
        with Client(self.end()) as client:
            for size in (1, 16_384, 16_385, 400_000):
                self.assertTrue(client.do(kv.put("a", b"x" * size)))
                self.assertEqual(client.do(kv.value("a")), b"x" * size)
            answer = client.ask(kv.get("a"))
            waiting = kv.get("a", index=answer.index, wait_s=60)
            agent.put("kv/a", b"new")
            self.assertGreater(client.ask(waiting).index, answer.index)
        shown = agent.get("agent/self")["DebugConfig"]
        self.assertEqual((shown["HTTPSAddrs"], shown["KeyFile"]), ([f"tcp://{IP}:8501"], "hidden"))

    def test_certificates_of_clients(self) -> None:
        """Wanted if the configuration says so, of our CA, good, and for clients; HTTP stays open."""
        agent = self.started("verify_incoming_https = true")
        agent.put("kv/a", b"v")
        self.assertEqual(self.ask(**self.pair("any.example", uses=(CLIENT,))), b"v")
        self.assertEqual(self.ask(**self.pair("plain.example")), b"v")
        self.refused()
        for how in ({"by": self.other}, {"hours": -1}, {"uses": (SERVER,)}):
            self.refused(**self.pair(f"bad{len(os.listdir(self.folder))}", **how))
        self.assertEqual(agent.request("GET", "kv/a?raw"), (200, b"v"))
        socket.create_connection((IP, 8501)).close()
        said = "HTTPS connection from 127.0.0.1 refused: TLS: "
        for why in (
            "the peer shows no certificate",
            "x509: certificate has expired",
            "x509: certificate signed by",
        ):
            eventually(lambda why=why: said + why in agent.log())  # type: ignore[misc]
        self.assertNotIn("the peer closed the connection", agent.log())

    def test_new_certificates(self) -> None:
        """A reload takes them over without ending connections, or nothing if they are no good."""
        agent = self.started()
        agent.put("kv/a", b"v")
        with Client(self.end()) as client:
            self.assertEqual(client.do(kv.value("a")), b"v")
            cert, key = self.other.write(self.folder / "new", "server.dc1.consul", IP)
            os.replace(cert, self.cert)
            status, body = agent.request("PUT", "agent/reload")
            self.assertEqual(status, 500)
            self.assertIn(
                b"Failed reloading tls configuration: Failed to load cert/key pair: "
                b"tls: private key does not match public key",
                body,
            )
            self.assertEqual(self.ask(), b"v")
            os.replace(key, self.key)
            agent.put("agent/reload")
            self.assertIn("unknown authority", self.refused())
            self.assertEqual(client.do(kv.value("a")), b"v")
        mine = self.folder / "other.pem"
        mine.write_bytes(self.other.pem())
        self.assertEqual(self.ask(ca_file=str(mine)), b"v")

    def test_a_server_with_a_bad_certificate(self) -> None:
        """It starts; those who look at certificates refuse it."""
        self.cert, self.key = self.authority.write(self.folder / "expired", IP, hours=-1)
        self.started().put("kv/a", b"v")
        self.assertIn("x509: certificate has expired", self.refused())
        self.assertEqual(self.ask(verify=False), b"v")

    def test_files_that_are_no_good(self) -> None:
        """The agent does not start, and says which file and why."""
        self.key.unlink()
        agent = self.agent().start()
        self.assertEqual(agent.wait(), 1)
        self.assertIn(
            f"==> Failed to load cert/key pair: open {self.key}: no such file or directory", agent.log()
        )

    def test_without_tls(self) -> None:
        """HTTP on the HTTPS port is told what is wrong; so is HTTPS on the HTTP port."""
        agent = self.started()
        end = Endpoint(f"{IP}:8501")
        answer = Client(end).response(kv.value("a"))
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.body, b"Client sent an HTTP request to an HTTPS server.\n")
        wrong = Endpoint(f"https://{agent.ip}:8500", ca_file=str(self.ca))
        error = self.assertRaises(PyconsulError, Client(wrong).do, kv.value("a"))
        self.assertIn("http: server gave HTTP response to HTTPS client", str(error))

    def test_old_versions(self) -> None:
        """The least version holds."""
        self.started('tls_min_version = "tls13"').put("kv/a", b"v")
        self.assertEqual(self.ask(), b"v")
        end = self.end()
        end.tls_context().maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertRaises(PyconsulError, Client(end).do, kv.value("a"))


class ToolTests(HttpsTestCase):
    def run_tool(self, *command: str, **environ: str) -> tuple[int, str]:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            env={**os.environ, "PYTHONPATH": ROOT, **environ},
        )
        return done.returncode, done.stdout + done.stderr

    def test_curl(self) -> None:
        self.started().put("kv/a", b"v")
        url = f"https://{IP}:8501/v1/kv/a?raw"
        self.assertEqual(self.run_tool("curl", "-sS", "--cacert", str(self.ca), url), (0, "v"))
        self.assertEqual(self.run_tool("curl", "-s", url)[0], 60)

    test_curl.skip = need("curl")  # type: ignore[attr-defined]

    def check_commands(self, *program: str) -> None:
        """Flags and environment, and the exit status when something is wrong."""
        self.started("verify_incoming_https = true").put("kv/a", b"v")
        pair = self.pair("cli")
        flags = [f"-http-addr=https://{IP}:8501", f"-ca-file={self.ca}"]
        whole = [*flags, f"-client-cert={pair['client_cert']}", f"-client-key={pair['client_key']}"]
        get = [*program, "kv", "get"]
        self.assertEqual(self.run_tool(*get, *whole, "a"), (0, "v\n"))
        self.assertEqual(self.run_tool(*get, *whole, "-tls-server-name=localhost", "a"), (0, "v\n"))
        environ = {
            "CONSUL_HTTP_ADDR": f"{IP}:8501", "CONSUL_HTTP_SSL": "true",
            "CONSUL_CAPATH": str(self.ca.parent / "cas"),
            "CONSUL_CLIENT_CERT": pair["client_cert"], "CONSUL_CLIENT_KEY": pair["client_key"],
            "CONSUL_TLS_SERVER_NAME": "server.dc1.consul",
        }  # fmt: skip
        (self.folder / "cas").mkdir()
        shutil.copy(self.ca, self.folder / "cas" / "one.pem")
        self.assertEqual(self.run_tool(*get, "a", **environ), (0, "v\n"))
        unverified = {
            **environ,
            "CONSUL_HTTP_SSL_VERIFY": "false",
            "CONSUL_TLS_SERVER_NAME": "x",
            "CONSUL_CAPATH": "",
        }
        self.assertEqual(self.run_tool(*get, "a", **unverified), (0, "v\n"))
        unknown = [flag for flag in whole if not flag.startswith("-ca-file")]
        for arguments, why in (
            ([*whole, "-tls-server-name=other"], "not"),
            (unknown, "x509: certificate signed by unknown authority"),
            (whole[:-1], "both client cert and client key must be provided"),
            ([*flags, "-ca-file=/none"], "Error loading CA File: open /none: no such file or directory"),
            (flags, ""),
        ):
            status, text = self.run_tool(*get, *arguments, "a")
            self.assertEqual(status, 1, text)
            self.assertIn(why, text)

    def test_consuls_commands(self) -> None:
        """Real Consul's command line against our agent."""
        self.check_commands(str(peers_folder() / "consul"))

    test_consuls_commands.skip = missing_peers("consul")  # type: ignore[attr-defined]

    def test_our_commands(self) -> None:
        """Ours says the same."""
        self.check_commands(sys.executable, "-m", "pyconsul")

    def test_our_commands_with_consul(self) -> None:
        """Our command line against real Consul."""
        real = subprocess.Popen(
            [
                str(peers_folder() / "consul"), "agent", "-dev", f"-bind={IP}", f"-client={IP}",
                "-hcl", f'ca_file = "{self.ca}" cert_file = "{self.cert}" key_file = "{self.key}"',
                "-hcl", "ports { https = 8501 } verify_incoming_https = true",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(real.wait)
        self.addCleanup(real.kill)
        asker = Agent(self, str(self.folder), IP, "real")
        eventually(lambda: asker.put("kv/a", b"v"))
        self.assertEqual(self.ask(**self.pair("cli")), b"v")
        self.refused()

    test_our_commands_with_consul.skip = missing_peers("consul")  # type: ignore[attr-defined]
