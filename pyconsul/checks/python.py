"""Checks that are Python: callables that other packages offer as entry points of ``pyconsul.checks``.

They run in the agent's process, which costs no fork. See docs/howto/write-a-python-check.rst.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from threading import Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from pyconsul.checks.definition import STATES, CheckType
from pyconsul.checks.outcome import Outcome, Tail
from pyconsul.checks.script import took_too_long
from pyconsul.structs.catalog import CRITICAL, PASSING

GROUP = "pyconsul.checks"

Find = Callable[[str], Callable[..., Any]]
"""Gives the callable with a name; raises ``LookupError`` with what to tell."""


def find_entry_point(name: str) -> Callable[..., Any]:
    """The check that an installed package calls ``name``; raises ``LookupError``."""
    offered: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none is installed"
        raise LookupError(f'no Python check is called "{name}" (known: {known})')
    found: Callable[..., Any] = offered[name].load()
    return found


class PythonProbe:
    """Calls a function with the check's options.

    A coroutine function, and one that has a parameter ``reactor``, runs in the reactor's thread and may
    wait there; any other runs in a thread of its own. What it gives back is the outcome (``outcome_of``);
    an exception is critical.
    """

    def __init__(self, definition: CheckType, reactor: Any, find: Find = find_entry_point) -> None:
        self._definition = definition
        self._reactor = reactor
        self._find = find
        self._function: Callable[..., Any] | None = None
        self._thread: Thread | None = None

    def run(self) -> Deferred[Outcome]:
        """Call it."""
        if self._thread is not None and self._thread.is_alive():
            text = "The run before has not ended yet: a thread cannot be stopped from outside"
            return succeed(Outcome(CRITICAL, text))
        function = self._function
        if function is None:
            try:
                function = self._function = self._find(self._definition.target)
            except Exception as error:
                return succeed(Outcome(CRITICAL, f"{type(error).__name__}: {error}"))
        options = dict(self._definition.options)
        called: Deferred[Any]
        if _wants_reactor(function):
            called = maybeDeferred(function, reactor=self._reactor, **options)
        elif inspect.iscoroutinefunction(function):
            called = maybeDeferred(function, **options)
        else:
            called = self._in_thread(function, options)
        return called.addCallbacks(self._outcome, self._failed)

    def timed_out(self) -> Outcome:
        """It has not come back."""
        return Outcome(CRITICAL, took_too_long(self._definition.timeout_s, ""))

    def _in_thread(self, function: Callable[..., Any], options: dict[str, str]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def finish(result: Any) -> None:
            if not done.called:  # else it was cancelled
                done.callback(result)  # a Failure counts as such

        def work() -> None:
            try:
                result = function(**options)
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(finish, result)

        self._thread = Thread(target=work, name=f"check {self._definition.check_id}", daemon=True)
        self._thread.start()
        return done

    def _outcome(self, result: Any) -> Outcome:
        outcome = outcome_of(result)
        return Outcome(outcome.status, self._cut(outcome.output))

    def _failed(self, failure: Failure) -> Outcome | Failure:
        if failure.check(CancelledError):
            return failure
        text = "".join(traceback.format_exception_only(failure.type, failure.value)).strip()
        return Outcome(CRITICAL, self._cut(text))

    def _cut(self, output: str) -> str:
        tail = Tail(self._definition.output_bytes_max)
        tail.write(output.encode("utf-8", "replace"))
        return tail.captured()


def _wants_reactor(function: Callable[..., Any]) -> bool:
    try:
        return "reactor" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def outcome_of(result: Any) -> Outcome:
    """What a function's result says.

    ``None`` and ``True`` are passing, ``False`` is critical; a text is a state, or else the output of a
    check that passes; a pair is a state and an output.
    """
    if result is None or isinstance(result, bool):
        return Outcome(CRITICAL if result is False else PASSING, "")
    if isinstance(result, str):
        return Outcome(result, "") if result in STATES else Outcome(PASSING, result)
    if isinstance(result, tuple) and len(result) == 2 and result[0] in STATES:
        return Outcome(result[0], str(result[1]))
    return Outcome(CRITICAL, f"the check's result is none: {result!r}")
