"""Unix sockets: owner, group, mode, and one that is there already."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import unix_sockets as module
from pyconsul.agent.unix_sockets import UnixListener
from pyconsul.config.groups import UnixSockets
from pyconsul.errors import ConfigurationError


class Port:
    stopped = False

    def stopListening(self) -> None:
        self.stopped = True


class Reactor:
    """Binds a socket as the real one does."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.port = Port()

    def listenUNIX(self, path: str, factory: Any, *, backlog: int, mode: int) -> Port:
        made = socket.socket(socket.AF_UNIX)
        self.sockets.append(made)
        made.bind(path)
        os.chmod(path, mode)
        return self.port


class UnixListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = f"{os.getpid()}.sock"  # the path of a socket must be short
        self.reactor = Reactor()
        self.given: list[tuple[str, int, int]] = []
        self.patch(module.os, "chown", lambda *given: self.given.append(given))  # type: ignore[attr-defined]

    def tearDown(self) -> None:
        for one in self.reactor.sockets:
            one.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def listen(self, **wanted: str) -> Any:
        return UnixListener(UnixSockets(**wanted)).listen(self.reactor, self.path, None)

    def mode(self) -> int:
        return stat.S_IMODE(os.stat(self.path).st_mode)

    def test_as_it_comes(self) -> None:
        """The umask decides who may connect."""
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        self.assertIs(self.listen(), self.reactor.port)
        self.assertEqual((self.mode(), self.given), (0o750, []))

    def test_mode(self) -> None:
        for text, mode in (("0660", 0o660), ("777", 0o777)):
            self.listen(mode=text)
            self.assertEqual(self.mode(), mode)

    def test_owner(self) -> None:
        """By number or by name."""
        self.listen(user="1234")
        self.listen(group="5678")
        self.patch(module, "_user", {"consul": 100}.__getitem__)
        self.patch(module, "_group", {"web": 200}.__getitem__)
        self.listen(user="consul", group="web")
        self.assertEqual([given[1:] for given in self.given], [(1234, -1), (-1, 5678), (100, 200)])

    def test_this_machine(self) -> None:
        self.listen(user="root", group="root")
        self.assertEqual(self.given[0][1:], (0, 0))

    def test_replaced(self) -> None:
        """A socket that a crash has left behind is no trouble; what is no socket stays."""
        self.listen()
        self.listen()
        self.assertEqual(len(self.reactor.sockets), 2)
        os.unlink(self.path)
        with open(self.path, "wb"):
            pass
        self.assertRaises(OSError, self.listen)
        self.assertTrue(os.path.isfile(self.path))

    def test_refused(self) -> None:
        for wanted, why in (
            ({"user": "no-such-user"}, "Failed setting up socket: unknown user no-such-user"),
            ({"group": "no-such-group"}, "Failed setting up socket: unknown group no-such-group"),
            ({"mode": "x"}, "Failed setting up socket: invalid mode specified: x"),
            ({"mode": "888"}, "Failed setting up socket: invalid mode specified: 888"),
            ({"mode": "10000"}, "Failed setting up socket: invalid mode specified: 10000"),
        ):
            error = self.assertRaises(ConfigurationError, UnixListener, UnixSockets(**wanted))
            self.assertEqual(str(error), why)

    def test_not_permitted(self) -> None:
        """Only root may give files away."""

        def refuse(*given: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(module.os, "chown", refuse)  # type: ignore[attr-defined]
        error = self.assertRaises(ConfigurationError, self.listen, user="1")
        self.assertIn("operation not permitted", str(error))
        self.assertTrue(self.reactor.port.stopped)
