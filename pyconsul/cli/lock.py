"""``pyconsul lock``: run a program while holding a lock or a share of a semaphore."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean, duration
from pyconsul.client import session
from pyconsul.client.locks import Lock, Semaphore
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen
    from types import FrameType
    from typing import Any

    from pyconsul.client.blocking import Client

TTL_S = 15
RENEW_S = 5.0
RETRY_S = 1.0
KILL_S = 5.0
"""How long a program has to end once it should."""


def run(invocation: Invocation) -> int:
    """Take the lock, run the program, give the lock back."""
    if len(invocation.arguments) < 2:
        raise Failed("Key prefix and child command must be specified")
    return _Holding(invocation, _Order(invocation)).run()


class _Order:
    """What the flags and arguments ask for; raises ``Failed``."""

    def __init__(self, invocation: Invocation) -> None:
        given = invocation.values
        self.prefix = invocation.arguments[0].strip("/")
        self.command = invocation.arguments[1:]
        self.child = " ".join(self.command)
        self.datacenter: str = given["datacenter"]
        self.name: str = given["name"]
        self.limit: int = given["n"]
        self.retries: int = given["monitor-retry"]
        self.pass_stdin: bool = given["pass-stdin"]
        self.wait_s = _seconds(given["try"] or given["timeout"])
        if self.limit <= 0:
            raise Failed("Lock holder limit must be positive")
        if self.wait_s < 0:
            raise Failed("Timeout must be positive")
        if self.retries < 0:
            raise Failed("Number for 'monitor-retry' must be >= 0")
        if given["shell"]:
            self.command = [invocation.terminal.environ.get("SHELL") or "/bin/sh", "-c", self.child]


def _seconds(text: str) -> float:
    from pyconsul.structs.durations import parse_ns

    try:
        return parse_ns(text) / 1e9 if text else 0.0
    except ValueError as error:
        raise Failed(f"Error parsing try timeout: {error}") from None


class _Interrupted(Exception):
    """A signal came while nothing but waiting was going on."""


class _Holding:
    """From waiting for the lock to giving it back."""

    _session: str
    _lock: Lock | Semaphore

    def __init__(self, invocation: Invocation, order: _Order) -> None:
        self._invocation, self._order = invocation, order
        self._client = invocation.client()
        self._say: Callable[[str], None] = (
            invocation.terminal.out if invocation.values["verbose"] else lambda text: None
        )
        self._waiting = self._stopping = self._done = False
        self._child: Popen[bytes] | None = None

    def run(self) -> int:
        """The exit status."""
        import signal

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._signalled) for number in numbers]
        try:
            return self._with_session()
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _with_session(self) -> int:
        order, invocation = self._order, self._invocation
        datacenter = order.datacenter
        name = order.name or f"Consul lock for '{order.child}' at '{order.prefix}'"
        creation = session.create({"Name": name, "TTL": f"{TTL_S}s"}, datacenter=datacenter)
        self._session = invocation.do(creation, "Lock setup failed")
        self._lock = (
            Lock(order.prefix, self._session, datacenter)
            if order.limit == 1
            else Semaphore(order.prefix, self._session, order.limit, datacenter)
        )
        try:
            return self._hold()
        finally:
            try:
                self._client.do(session.destroy(self._session, datacenter=datacenter))
            except PyconsulError:
                pass  # it ends by itself

    def _hold(self) -> int:
        self._say(f"Setting up lock at path: {self._lock.path}")
        self._say("Attempting lock acquisition")
        try:
            taken = self._acquire()
        except PyconsulError as error:
            raise Failed(f"Lock acquisition failed: {error}") from None
        if not taken:
            self._release()
            raise Failed("Shutdown triggered or timeout during lock acquisition")
        status = self._supervise()
        self._done = True
        self._release()
        return status

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._waiting = False
            raise _Interrupted
        if not self._done:
            self._stop("Shutdown triggered, killing child")

    def _acquire(self) -> bool:
        import time

        end = time.monotonic() + self._order.wait_s if self._order.wait_s else None
        renewal = time.monotonic() + RENEW_S
        index = 0
        try:
            self._waiting = True
            if self._stopping:  # a signal came before there was anything to be interrupted
                return False
            while (seen := self._lock.take(self._client, index)) is not None:
                index, now = seen, time.monotonic()
                if end is not None and now >= end:
                    return False
                if now >= renewal:
                    renewal = now + RENEW_S
                    self._renew(self._client)
        except _Interrupted:
            self._client.close()  # it may be in the middle of an answer
            return False
        finally:
            self._waiting = False
        return True

    def _renew(self, client: Client) -> None:
        client.do(session.renew(self._session, datacenter=self._order.datacenter))

    def _release(self) -> None:
        try:
            clean = self._lock.release(self._client)
        except PyconsulError as error:
            raise Failed(f"Lock release failed: {error}") from None
        self._say("Cleanup succeeded" if clean else "Cleanup aborted, lock in use")

    # ------------------------------------------------------------ the program

    def _supervise(self) -> int:
        """Run the program, and end it if the lock is lost; the exit status."""
        import subprocess
        import threading

        order, terminal = self._order, self._invocation.terminal
        self._say("Starting handler")
        terminal.stdout.flush()
        try:
            self._child = subprocess.Popen(
                order.command,
                stdin=None if order.pass_stdin else subprocess.DEVNULL,
                env={**terminal.environ, "CONSUL_LOCK_HELD": "true"},
                # What the program has started ends with it; but only the terminal's own group may read there.
                start_new_session=not order.pass_stdin,
            )
        except OSError as error:
            reason = (error.strerror or "").lower()
            terminal.err(f"Error starting handler: fork/exec {order.command[0]}: {reason}")
            return self._outcome(failed=True)
        if self._stopping:  # asked to while it was being started
            self._end(self._child)
        threading.Thread(target=self._keep, daemon=True).start()
        status = self._child.wait()
        self._done = True
        if status:
            terminal.err(f"Error running handler: {_told(status)}")
        self._say("Child terminated" if self._stopping else "Child terminated, releasing lock")
        return self._outcome(failed=status != 0)

    def _outcome(self, *, failed: bool) -> int:
        return 2 if failed and self._invocation.values["child-exit-code"] else 0

    def _keep(self) -> None:
        """In a thread: renew the session, and look whether the lock is still ours."""
        import time

        from pyconsul.client.blocking import Client

        index = failures = 0
        renewal = time.monotonic() + RENEW_S
        with Client(self._client.endpoint) as client:
            while not self._done:
                try:
                    seen = self._lock.holds(client, index)
                    if seen is None:
                        break
                    index = seen
                    if time.monotonic() >= renewal:
                        self._renew(client)
                        renewal = time.monotonic() + RENEW_S
                    failures = 0
                except PyconsulError:
                    failures += 1
                    if failures > self._order.retries:
                        break
                    time.sleep(RETRY_S)
        if not self._done:
            self._stop("Lock lost, killing child")

    def _stop(self, why: str) -> None:
        """End the program, once, for whatever reason comes first."""
        if self._stopping:
            return
        self._stopping = True
        self._say(why)
        if self._child is not None:
            self._end(self._child)

    def _end(self, child: Popen[bytes]) -> None:
        import signal
        import threading

        self._say(f"Terminating child pid {child.pid}")
        self._kill(child, signal.SIGTERM)
        timer = threading.Timer(KILL_S, self._kill, (child, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    def _kill(self, child: Popen[bytes], number: int) -> None:
        import os

        if child.returncode is not None:
            return
        try:
            if self._order.pass_stdin:
                os.kill(child.pid, number)
            else:
                os.killpg(child.pid, number)
        except ProcessLookupError:
            pass  # it has just ended


def _told(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    import signal

    return f"signal: {(signal.strsignal(-status) or str(-status)).lower()}"


def _count(default: int) -> dict[str, Any]:
    return {"default": default, "read": int, "shown": "int"}


COMMAND = Command(
    "lock",
    "[options] PREFIX CHILD...",
    "Run a program while holding a lock, or one of several places of a semaphore, below a prefix of the "
    "key/value store. It has CONSUL_LOCK_HELD=true in its environment. If the lock is lost the program is "
    "asked to end, and killed five seconds later.",
    run,
    flags=[
        Flag("n", "How many may hold it at a time; more than one makes it a semaphore.", **_count(1)),
        Flag("name", "Name of the session; one is made of child and prefix if this is not given."),
        Flag("try", "Give up after this time without the lock. Same as -timeout.", shown="duration"),
        duration("timeout", "Give up after this time without the lock; by default never."),
        Flag(
            "monitor-retry",
            "How often in a row asking whether the lock is still held may fail, a second apart.",
            **_count(3),
        ),
        boolean("pass-stdin", "Let the program read standard input."),
        boolean("child-exit-code", "Exit with 2 if the program fails."),
        boolean("shell", "Run the program by a shell (SHELL, else /bin/sh).", True),
        boolean("verbose", "Tell what is going on."),
    ],
    asks_servers=True,
)
