"""Clients that rest, dawdle, and do not read, beside others that want to be served."""

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.processes import WITHIN_S, Agent, block, eventually

RESTING, DAWDLING, DEAF = 200, 20, 20
LARGE_BYTES = 400_000
ASKED_AT_ONCE = 50
LISTED = 2_000
GET = b"GET /v1/kv/large?raw HTTP/1.1\r\nHost: x\r\n\r\n"


class SlowClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        net, folder = block(49), os.path.abspath(self.mktemp())
        limits = f"limits {{ http_max_conns_per_client = {2 * (RESTING + DAWDLING + DEAF)} }}"
        self.agent = Agent(
            self, folder, f"{net}.2", "s1", "-server", "-bootstrap-expect", "1", "-hcl", limits
        ).start()
        eventually(lambda: self.agent.request("PUT", "kv/large", os.urandom(LARGE_BYTES))[0] == 200)

    def connect(self, receives_bytes: int = 0) -> socket.socket:
        client = socket.socket()
        self.addCleanup(client.close)
        if receives_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
        client.settimeout(WITHIN_S)
        client.connect((self.agent.ip, 8500))
        return client

    def memory_bytes(self) -> int:
        with open(f"/proc/{self.agent.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def test_others_are_served(self) -> None:
        """However many of them there are, the next client is answered, and what they leave is bounded.

        A client that asks for much and takes nothing is answered once: the rest of what it asks waits.
        """
        before = self.memory_bytes()
        resting = [self.connect() for _ in range(RESTING)]
        dawdling = [self.connect() for _ in range(DAWDLING)]
        deaf = [self.connect(4096) for _ in range(DEAF)]
        for client in deaf:
            client.sendall(GET * ASKED_AT_ONCE)
        for place in range(len(GET) - 1):
            for client in dawdling:
                client.sendall(GET[place : place + 1])
            if place % 10 == 0:
                value = b"%d" % place
                self.assertEqual(self.agent.request("PUT", "kv/small", value), (200, b"true"))
                self.assertEqual(self.agent.request("GET", "kv/small?raw"), (200, value))
        grown = self.memory_bytes() - before
        self.assertLess(grown, DEAF * LARGE_BYTES * ASKED_AT_ONCE / 4)
        for client in dawdling:
            client.sendall(GET[-1:])
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 OK"))
        resting[0].sendall(GET)
        self.assertTrue(resting[0].recv(100).startswith(b"HTTP/1.1 200 OK"))

    def test_a_listing(self) -> None:
        """Whoever reads a long list slowly gets it whole in the end, and takes little memory meanwhile."""
        value = b64encode(os.urandom(1500)).decode()
        for start in range(0, LISTED, 64):
            keys = [f"listed/{number:05}" for number in range(start, min(start + 64, LISTED))]
            sets = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys]
            self.assertEqual(self.agent.request("PUT", "txn", json.dumps(sets).encode())[0], 200)
        ask = b"GET /v1/kv/listed/?recurse HTTP/1.0\r\n\r\n"
        quick = self.connect()
        quick.sendall(ask)
        whole = self.rest(quick)
        self.assertEqual(len(json.loads(whole)), LISTED)
        before = self.memory_bytes()
        slow = [self.connect(4096) for _ in range(DEAF)]
        for client in slow:
            client.sendall(ask)
            self.assertEqual(client.recv(1, socket.MSG_PEEK), b"H")
        self.assertEqual(self.agent.request("PUT", "kv/listed/00000", b"new"), (200, b"true"))
        self.assertLess(self.memory_bytes() - before, DEAF * len(whole) / 4)
        self.assertEqual({self.rest(client) for client in slow[:3]}, {whole})

    def rest(self, client: socket.socket) -> bytes:
        """The body of an answer that ends with its connection."""
        with client.makefile("rb") as file:
            return file.read().partition(b"\r\n\r\n")[2]
