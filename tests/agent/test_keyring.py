"""The keyring's file, and changing keys on all members."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.keyring import LAN_FILE, KeyringFile, KeyringOperations, open_keyring
from pyconsul.errors import BadRequest, ConfigurationError, NoPath
from pyconsul.structs.keyring import (
    INSTALL,
    LIST,
    REMOVE,
    USE,
    KeyringRequest,
    KeyringResponse,
    KeyringResponses,
)
from pyconsul.swim.keyring import Keyring
from pyconsul.testing.disk import SimDisk
from tests.net.test_gossip import PoolTestCase

A, B = "pUqJrVyVRj5jsiYEkM/tFQ==", "WWlGcrVWY3o9rOQoFYX/kg=="


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 0.1)
        self.disk.attach(self.clock)

    def text(self) -> str:
        file = self.disk.open(LAN_FILE)
        return file.read(file.size(), 0).decode()

    def write(self, text: str) -> None:
        self.disk.make_folder("serf")
        file = self.disk.open(LAN_FILE, create=True)
        file.truncate(0)
        file.write([text.encode()], 0)

    def test_begun_by_the_configuration(self) -> None:
        """As a real agent writes it; from then on the file counts."""
        self.assertIsNone(open_keyring(self.disk, LAN_FILE, ""))
        keyring = open_keyring(self.disk, LAN_FILE, A)
        assert keyring is not None
        self.assertEqual((keyring.keys_base64(), self.text()), ([A], f'["{A}"]'))
        again = open_keyring(self.disk, LAN_FILE, B)
        assert again is not None
        self.assertEqual(again.keys_base64(), [A])
        without = open_keyring(self.disk, LAN_FILE, "")
        assert without is not None
        self.assertEqual(without.keys_base64(), [A])

    def test_saved(self) -> None:
        """The primary first, and durable when it is said to be."""
        open_keyring(self.disk, LAN_FILE, A)
        saved = KeyringFile(self.disk, LAN_FILE).save([B, A])
        self.assertNoResult(saved)
        for _ in range(10):
            self.clock.advance(0.1)
        self.successResultOf(saved)
        self.assertEqual(self.text(), f'[\n  "{B}",\n  "{A}"\n]')
        self.disk.crash()
        self.disk.attach(self.clock)
        keyring = open_keyring(self.disk, LAN_FILE, "")
        assert keyring is not None
        self.assertEqual(keyring.keys_base64(), [B, A])
        self.assertEqual(self.disk.list("serf"), ["local.keyring"])

    def test_not_saved(self) -> None:
        file = KeyringFile(self.disk, "no/such/folder")
        saved = file.save([A])
        for _ in range(10):
            self.clock.advance(0.1)
        self.failureResultOf(saved, OSError)

    def test_in_memory(self) -> None:
        for disk, in_file in ((None, True), (self.disk, False)):
            keyring = open_keyring(disk, LAN_FILE, A, in_file)
            assert keyring is not None
            self.assertEqual(keyring.keys_base64(), [A])
        self.assertEqual(self.disk.list("serf"), [])

    def test_no_use(self) -> None:
        for text in ("", "{", "{}", "[]", "[1]", '["short"]', json.dumps(["c2hvcnQ="])):
            self.write(text)
            error = self.assertRaises(ConfigurationError, open_keyring, self.disk, LAN_FILE, A)
            self.assertIn(LAN_FILE, str(error))
        self.write("")
        self.disk.remove(LAN_FILE)
        self.assertRaises(ConfigurationError, open_keyring, self.disk, LAN_FILE, "short")
        self.assertEqual(self.disk.list("serf"), [])


class OperationTests(PoolTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lan = self.pool(1, keyring=Keyring.from_base64([A]))
        self.wan = self.pool(7, keyring=Keyring.from_base64([A]))
        self.elsewhere: Any = lambda request: []

    def run_op(self, operation: str, key: str = "", **more: Any) -> Any:
        """The responses to an operation."""
        operations = KeyringOperations("dc1", lambda: [(True, self.wan), (False, self.lan)], self.elsewhere)
        done = operations.run(KeyringRequest(operation=operation, key=key, **more))
        return self.successResultOf(done).responses

    def test_rotation(self) -> None:
        for operation, key in ((INSTALL, B), (USE, B), (REMOVE, A)):
            wan, lan = self.run_op(operation, key)
            self.assertEqual((wan.error, lan.error, wan.wan, lan.wan), ("", "", True, False))
        wan, lan = self.run_op(LIST, relay_factor=2)
        expected = KeyringResponse(wan=False, datacenter="dc1", keys={B: 1}, primary_keys={B: 1}, num_nodes=1)
        self.assertEqual(lan, expected)
        self.assertEqual((wan.datacenter, wan.keys), ("dc1", {B: 1}))

    def test_only_here(self) -> None:
        self.elsewhere = lambda request: self.fail("not asked for")
        options: list[dict[str, Any]] = [{"local_only": True}, {"forwarded": True}]
        for more in options:
            (response,) = self.run_op(LIST, **more)
            self.assertFalse(response.wan)

    def test_elsewhere(self) -> None:
        other = KeyringResponse(datacenter="dc2", keys={A: 3}, num_nodes=3)
        self.elsewhere = lambda request: [succeed(KeyringResponses(responses=[other]))]
        self.assertEqual(self.run_op(LIST)[2], other)
        self.elsewhere = lambda request: [fail(NoPath())]
        operations = KeyringOperations("dc1", lambda: [(False, self.lan)], self.elsewhere)
        done: Deferred[Any] = operations.run(KeyringRequest(operation=LIST))
        self.failureResultOf(done, NoPath)

    def test_what_goes_wrong(self) -> None:
        """In each pool by itself."""
        wan, lan = self.run_op(REMOVE, A)
        text = "Removing the primary key is not allowed"
        self.assertEqual((lan.error, lan.messages), ("1/1 nodes reported failure", {"n1": text}))
        self.assertEqual(wan.messages, {"n7": text})
        for key, place in (("short", 4), ("AAA!", 3), ("A", 0)):
            _, lan = self.run_op(INSTALL, key)
            self.assertEqual(lan.error, f"illegal base64 data at input byte {place}", key)
        self.lan.stop()
        self.assertEqual(self.run_op(LIST)[1].error, "gossip is not running")

    def test_no_such_operation(self) -> None:
        operations = KeyringOperations("dc1", list, self.elsewhere)
        self.assertRaises(BadRequest, operations.run, KeyringRequest(operation="dance"))
        self.assertRaises(BadRequest, operations.run, KeyringRequest(operation=LIST, relay_factor=6))
        self.assertEqual(self.successResultOf(operations.run(KeyringRequest(operation=LIST))).responses, [])
