"""``pyconsul debug``: what an agent says of itself for some time, as files in an archive."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean, duration, repeated
from pyconsul.client.call import Call
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from pyconsul.client.call import Response

MIN_S = 10.0
"""No recording is shorter, nor the time between two looks."""
DURATION, INTERVAL = "2m0s", "30s"
ONCE = {"host": "/v1/agent/host", "agent": "/v1/agent/self", "cluster": "/v1/agent/members?wan=1"}
METRICS, LOGS, PROFILES = "metrics", "logs", "pprof"
TARGETS = (METRICS, LOGS, *ONCE)
INVALID = "==> Capture validation failed: "
NO_PROFILES = "[WARN] Unable to capture pprof. This agent cannot profile itself."


def run(invocation: Invocation) -> int:
    """Record, until the time is over or the user has enough."""
    if invocation.arguments:
        raise Failed("==> debug: Too many arguments provided, expected 0")
    recording = _Recording(invocation)
    recording.announce()
    try:
        recording.once()
        if recording.repeats:
            recording.again_and_again()
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise Failed(f"==> Capture failed: {error}") from None
    invocation.terminal.out(f"    Saved debug archive: {recording.saved()}")
    return 0


class _Recording:
    """From looking whether it can be made to the archive.

    :ivar repeats: something is to be looked at more than once.
    """

    def __init__(self, invocation: Invocation) -> None:
        import os
        import time

        from pyconsul.structs.durations import parse_ns

        values = invocation.values
        self._invocation = invocation
        self._out = invocation.terminal.out
        self._duration_s, self._interval_s = (
            parse_ns(values[name]) / 1e9 for name in ("duration", "interval")
        )
        self._targets = list(values["capture"]) or list(TARGETS)
        self._folder = values["output"] or f"consul-debug-{int(time.time())}"
        self._archive = values["archive"]
        if self._duration_s < MIN_S:
            raise Failed(f"{INVALID}duration must be longer than {MIN_S:g}s")
        if self._interval_s < MIN_S:
            raise Failed(f"{INVALID}interval must be longer than {MIN_S:g}s")
        if self._duration_s < self._interval_s:
            told = f"({_go(self._duration_s)}) must be longer than interval ({_go(self._interval_s)})"
            raise Failed(f"{INVALID}duration {told}")
        for target in self._targets:
            if target not in (*TARGETS, PROFILES):
                raise Failed(f"{INVALID}target not found: {target}")
        try:
            self._version = self._asked(ONCE["agent"])["Config"]["Version"]
        except PyconsulError as error:
            why = f"error querying target agent: {error}. verify connectivity and agent address"
            raise Failed(f"{INVALID}{why}") from None
        if os.path.exists(self._folder):
            raise Failed(f"{INVALID}output directory already exists: {self._folder}")
        if PROFILES in self._targets:
            invocation.terminal.err(NO_PROFILES)
            self._targets = [target for target in self._targets if target != PROFILES]
        self.repeats = METRICS in self._targets or LOGS in self._targets

    def announce(self) -> None:
        """Say what is going to be recorded."""
        self._out("==> Starting debugger and capturing static information...")
        for label, value in (
            ("Agent Version", self._version),
            ("Interval", _go(self._interval_s)),
            ("Duration", _go(self._duration_s)),
            ("Output", self._folder + (".tar.gz" if self._archive else "")),
            ("Capture", ", ".join(self._targets)),
        ):
            self._out(f"{label:>18}: '{value}'")

    def once(self) -> None:
        """What does not change."""
        for target, path in ONCE.items():
            if target in self._targets:
                self._write(f"{target}.json", self._answer(path))
        about = {
            "Version": 1,
            "AgentVersion": self._version,
            "Interval": _go(self._interval_s),
            "Duration": _go(self._duration_s),
            "Targets": self._targets,
        }
        self._write("index.json", about)

    def again_and_again(self) -> None:
        """What does; each time into a folder that is named after the time."""
        import time

        end = time.monotonic() + self._duration_s
        lines = _Lines(self._invocation) if LOGS in self._targets else None
        number = 0
        while True:
            moment = time.time()
            folder = str(int(moment))
            self._out(f"==> Beginning capture interval {_utc(moment)} ({number})")
            if METRICS in self._targets:
                self._write(f"{folder}/metrics.json", self._answer("/v1/agent/metrics"))
            if lines is not None:
                lines.go_to(self._open(f"{folder}/consul.log"))
            number += 1
            self._out(f"==> Capture successful {_utc(time.time())} ({number})")
            left_s = end - time.monotonic()
            time.sleep(max(0.0, min(self._interval_s, left_s)))
            if left_s <= self._interval_s:
                break
        if lines is not None:
            lines.stop()

    def saved(self) -> str:
        """Where it all is, packed unless it is not to be."""
        import os
        import shutil

        if not self._archive:
            return self._folder
        parent, name = os.path.split(os.path.abspath(self._folder))
        try:
            packed = shutil.make_archive(self._folder, "gztar", parent, name)
            shutil.rmtree(self._folder)
        except OSError as error:
            raise Failed(f"Archive creation failed: {error}") from None
        return os.path.relpath(packed) if not os.path.isabs(self._folder) else packed

    def _asked(self, path: str) -> Any:
        import json

        call: Call[Response] = Call("GET", path, lambda response: response)
        response = self._invocation.client().do(call)
        if response.status != 200:
            raise PyconsulError(f"Unexpected response code: {response.status}")
        return json.loads(response.body)

    def _answer(self, path: str) -> Any:
        """The same; what cannot be had is told, and the others still are."""
        try:
            return self._asked(path)
        except PyconsulError as error:
            self._invocation.terminal.err(f"==> Capture error: {error}")
            return None

    def _write(self, name: str, value: Any) -> None:
        import json

        with self._open(name) as file:
            file.write(json.dumps(value, indent="\t", ensure_ascii=False).encode())

    def _open(self, name: str) -> BinaryIO:
        import os

        path = os.path.join(self._folder, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        return open(path, "wb")


class _Lines:
    """The agent's log, which goes into one file after the other."""

    def __init__(self, invocation: Invocation) -> None:
        import threading

        self._invocation = invocation
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, daemon=True).start()

    def go_to(self, file: BinaryIO | None) -> None:
        """From now on into ``file``."""
        with self._lock:
            before, self._file = self._file, file
        if before is not None:
            before.close()

    def stop(self) -> None:
        """Enough; what still comes is forgotten."""
        self.go_to(None)

    def _follow(self) -> None:
        from pyconsul.client import agent

        try:
            for piece in self._invocation.client().stream(agent.monitor("DEBUG")):
                with self._lock:
                    if self._file is not None:
                        self._file.write(piece)
        except (PyconsulError, OSError) as error:
            self._invocation.terminal.err(f"==> Capture error: {error}")


def _go(seconds: float) -> str:
    from pyconsul.structs.durations import format_ns

    return format_ns(int(seconds * 1e9))


def _utc(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds))


COMMAND = Command(
    "debug",
    "[options]",
    "Record for some time what an agent says of itself: its configuration, its machine and the members it "
    "knows once, its figures and its log again and again. It all ends up in an archive, with secrets hidden.",
    run,
    flags=[
        boolean("archive", "Pack the files into one; else they stay in a folder.", default=True),
        repeated(
            "capture", "What to record: metrics, logs, host, agent, cluster; by default all. May be repeated."
        ),
        duration("duration", "For how long to record.", DURATION),
        duration("interval", "How often to look at what changes.", INTERVAL),
        Flag(
            "output", "Name of the archive, without its ending; by default one with the time.", shown="string"
        ),
    ],
)
