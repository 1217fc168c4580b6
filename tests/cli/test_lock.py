"""``lock``, when the moment of a signal is chosen; ``tests/cluster/test_lock.py`` has the rest."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import session
from pyconsul.client.locks import Lock
from tests.cli.support import Answer, Result, run

CREATED: Answer = (200, {"ID": "s1"})
NO_KEY: Answer = (404, b"")
DONE: Answer = (200, True)


class SignalTests(SynchronousTestCase):
    def before(self, owner: Any, name: str) -> None:
        """Have a signal come just before a function is called."""
        real = getattr(owner, name)

        def signalled(*arguments: Any, **more: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments, **more)

        self.patch(owner, name, signalled)

    def lock(self, *answers: Answer) -> Result:
        handler = signal.getsignal(signal.SIGTERM)
        result = run("lock", "-verbose", "a", "sleep 60", answers=answers)
        self.assertIs(signal.getsignal(signal.SIGTERM), handler)
        self.assertEqual(result.lines[0], "PUT /v1/session/create")
        self.assertEqual(result.lines[-1], "PUT /v1/session/destroy/s1")
        return result

    def test_before_there_is_a_session(self) -> None:
        """It does not wait for the lock any more, and leaves no session behind."""
        self.before(session, "create")
        result = self.lock(CREATED, DONE, NO_KEY, DONE)
        self.assertEqual(result.status, 1)
        self.assertEqual(result.err, "Shutdown triggered or timeout during lock acquisition\n")
        self.assertNotIn("Starting handler", result.out)

    def test_while_it_waits(self) -> None:
        """The wait ends at once."""
        self.before(Lock, "take")
        result = self.lock(CREATED, DONE, NO_KEY, DONE)
        self.assertEqual(result.status, 1)
        self.assertEqual(result.err, "Shutdown triggered or timeout during lock acquisition\n")
