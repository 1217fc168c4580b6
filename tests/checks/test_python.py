"""Checks that are Python."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.checks import python
from pyconsul.checks.definition import CheckType
from pyconsul.checks.python import PythonProbe, find_entry_point, outcome_of

reactor: Any = any_reactor


def probe(function: Callable[..., Any], **fields: Any) -> PythonProbe:
    definition = CheckType(check_id="c", kind="python", target="mine", timeout_s=2.0, **fields)
    return PythonProbe(definition, reactor, lambda name: function)


class PythonTests(TestCase):
    async def test_in_a_thread(self) -> None:
        """A plain function may take its time; it gets the options."""
        threads: list[threading.Thread] = []

        def disk(path: str) -> tuple[str, str]:
            threads.append(threading.current_thread())
            return "warning", f"{path} is nearly full"

        found = await probe(disk, options={"path": "/"}).run()
        self.assertEqual(found, ("warning", "/ is nearly full"))
        self.assertIsNot(threads[0], threading.main_thread())

    async def test_in_the_reactor(self) -> None:
        """Coroutine functions, and whatever asks for the reactor."""
        here = threading.current_thread()

        async def plain() -> bool:
            await succeed(None)
            return threading.current_thread() is here

        async def asking(reactor: Any, word: str) -> str:
            return word if reactor is any_reactor else "critical"

        def deferred(reactor: Any) -> Deferred[str]:
            return succeed("critical")

        self.assertEqual((await probe(plain).run()).status, "passing")
        self.assertEqual(await probe(asking, options={"word": "hi"}).run(), ("passing", "hi"))
        self.assertEqual((await probe(deferred).run()).status, "critical")

    async def test_exceptions(self) -> None:
        def broken() -> None:
            raise ValueError("disk on fire")

        async def broken_too() -> None:
            raise KeyError("x")

        self.assertEqual(await probe(broken).run(), ("critical", "ValueError: disk on fire"))
        self.assertEqual(await probe(broken_too).run(), ("critical", "KeyError: 'x'"))
        status, output = await probe(broken, options={"wrong": "x"}).run()
        self.assertEqual(status, "critical")
        self.assertIn("unexpected keyword argument 'wrong'", output)

    async def test_long_output(self) -> None:
        found = await probe(lambda: "x" * 50, output_bytes_max=3).run()
        self.assertEqual(found.output, "Captured 3 of 50 bytes\n...\nxxx")

    async def test_a_thread_that_hangs(self) -> None:
        """It counts as too long; until it ends there is no second one."""
        go = threading.Event()
        self.addCleanup(go.set)
        check = probe(lambda: go.wait(30) and None)
        run = check.run()
        run.addErrback(lambda _: None)
        run.cancel()
        self.assertEqual(check.timed_out(), ("critical", "Timed out (2s) running check"))
        status, output = await check.run()
        self.assertEqual((status, output[:19]), ("critical", "The run before has "))
        go.set()
        assert check._thread is not None
        check._thread.join(10)
        self.assertEqual((await check.run()).status, "passing")

    async def test_unknown(self) -> None:
        definition = CheckType(check_id="c", kind="python", target="nobody-offers-this")
        status, output = await PythonProbe(definition, reactor).run()
        self.assertEqual(status, "critical")
        self.assertIn('no Python check is called "nobody-offers-this"', output)


class FindTests(SynchronousTestCase):
    def test_entry_points(self) -> None:
        """Found by name among those that are installed."""
        point = EntryPoint("join", "os.path:join", python.GROUP)
        self.patch(python, "entry_points", lambda group: [point] if group == python.GROUP else [])
        self.assertEqual(find_entry_point("join")("a", "b"), "a/b")
        error = self.assertRaises(LookupError, find_entry_point, "other")
        self.assertIn("(known: join)", str(error))


class OutcomeTests(SynchronousTestCase):
    def test_results(self) -> None:
        for result, outcome in (
            (None, ("passing", "")),
            (True, ("passing", "")),
            (False, ("critical", "")),
            ("warning", ("warning", "")),
            ("12 users", ("passing", "12 users")),
            (("critical", "gone"), ("critical", "gone")),
            (("warning", 5), ("warning", "5")),
            (("odd", "x"), ("critical", "the check's result is none: ('odd', 'x')")),
            (7, ("critical", "the check's result is none: 7")),
        ):
            self.assertEqual(outcome_of(result), outcome)

    def test_what_has_no_signature(self) -> None:
        self.assertFalse(python._wants_reactor(print if False else dict.fromkeys))
        self.assertFalse(python._wants_reactor(5))  # type: ignore[arg-type]
