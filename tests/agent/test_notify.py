"""Telling systemd."""

import os
import shutil
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.notify import notify


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
