"""Telling systemd."""

import os
import shutil
import socket
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import notify as module
from pyconsul.agent.notify import Watchdog, notify, watchdog_s


class NotifyTests(SynchronousTestCase):
    def test_nobody_asked(self) -> None:
        """Without NOTIFY_SOCKET nothing is sent."""
        self.patch(os, "environ", {})
        self.assertFalse(notify("READY=1"))

    def test_sends_one_datagram(self) -> None:
        """The state goes to the socket that is named, also in the abstract namespace."""
        folder = tempfile.mkdtemp()  # a socket's path has to be short
        self.addCleanup(shutil.rmtree, folder)
        for path in (f"@pyconsul-notify-{os.getpid()}", os.path.join(folder, "socket")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.bind("\0" + path[1:] if path.startswith("@") else path)
                self.patch(os, "environ", {"NOTIFY_SOCKET": path})
                self.assertTrue(notify("READY=1"))
                self.assertEqual(listener.recv(100), b"READY=1")

    def test_gone(self) -> None:
        """A socket that nobody reads is not our failure."""
        self.patch(os, "environ", {"NOTIFY_SOCKET": "/nonexistent/socket"})
        self.assertFalse(notify("READY=1"))


class WatchdogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.patch(module, "notify", self.told.append)

    def test_wanted(self) -> None:
        """The time is in microseconds, and may be meant for another process."""
        own = str(os.getpid())
        for environ, wanted_s in (
            ({}, 0.0),
            ({"WATCHDOG_USEC": "60000000"}, 60.0),
            ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": own}, 1.5),
            ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": own + "1"}, 0.0),
            ({"WATCHDOG_USEC": "soon"}, 0.0),
            ({"WATCHDOG_USEC": ""}, 0.0),
        ):
            self.patch(os, "environ", environ)
            self.assertEqual(watchdog_s(), wanted_s)

    def test_rhythm(self) -> None:
        """At once, then twice as often as need be, until it is stopped."""
        self.patch(os, "environ", {"WATCHDOG_USEC": "60000000"})
        watchdog = Watchdog(self.clock)
        watchdog.start()
        self.assertEqual(self.told, ["WATCHDOG=1"])
        self.clock.pump([10.0] * 9)
        self.assertEqual(self.told, ["WATCHDOG=1"] * 4)
        watchdog.stop()
        watchdog.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_wanted(self) -> None:
        self.patch(os, "environ", {})
        watchdog = Watchdog(self.clock)
        watchdog.start()
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))
