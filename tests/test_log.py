"""Log lines, levels and files."""

import io
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pyconsul import log as module
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError
from pyconsul.log import LOG, RotatingFile, Sink, Syslog, json_line, make_logger, normal_level, text_line
from tests.modules import exchange


class SinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

    def listen(self, level: str, as_json: bool = False) -> Sink:
        sink = Sink(level, self.lines.append, as_json)
        LOG.add(sink)
        self.addCleanup(LOG.remove, sink)
        return sink

    def messages(self) -> list[str]:
        return [line.partition("Z ")[2].rstrip("\n") for line in self.lines]

    def test_lines(self) -> None:
        """Level, namespace, message; fields that the message does not name come after it."""
        self.listen("TRACE")
        log = make_logger("agent.server")
        log.error("broken")
        log.warn("odd: {what}", what="x")
        log.info("member joined", member="n1", address="a b", empty="", quote='"')
        log.debug("number {number}", number=3)
        log.trace("packet", size=7)
        self.assertEqual(
            self.messages(),
            [
                "[ERROR] agent.server: broken",
                "[WARN]  agent.server: odd: x",
                '[INFO]  agent.server: member joined: member=n1 address="a b" empty="" quote="\\""',
                "[DEBUG] agent.server: number 3",
                "[TRACE] agent.server: packet: size=7",
            ],
        )

    def test_time(self) -> None:
        """Time in milliseconds, UTC."""
        line = text_line({"log_time": 1.5, "log_format": "x", "log_namespace": "n"})
        self.assertEqual(line, "1970-01-01T00:00:01.500Z [TRACE] n: x\n")

    def test_level(self) -> None:
        """What is finer than wanted is not written, and loggers do not even try."""
        self.listen("WARN")
        log = make_logger("agent")
        log.info("no")
        log.warn("yes")
        self.assertEqual(self.messages(), ["[WARN]  agent: yes"])

    def test_levels_follow_the_finest(self) -> None:
        """Two sinks with levels of their own; when the finer goes, its level goes too."""
        self.listen("WARN")
        fine: list[str] = []
        second = Sink("DEBUG", fine.append)
        LOG.add(second)
        log = make_logger("agent")
        log.debug("one")
        LOG.remove(second)
        LOG.remove(second)
        log.debug("two")
        self.assertEqual((len(self.lines), len(fine)), (0, 1))

    def test_set_level(self) -> None:
        """A reload may change the level."""
        sink = self.listen("WARN")
        log = make_logger("agent")
        LOG.set_level("INFO", sink)
        log.info("now")
        self.assertEqual(len(self.lines), 1)

    def test_twisted(self) -> None:
        """Twisted's own chatter counts as trace."""
        self.listen("DEBUG")
        Logger("twisted.web").info("Starting factory")
        Logger("twisted.web").warn("odd")
        self.assertEqual(self.messages(), ["[WARN]  twisted.web: odd"])

    def test_failures(self) -> None:
        """A failure has its traceback below the line."""
        self.listen("INFO")
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError:
            make_logger("agent").failure("went wrong", failure=Failure())
        self.assertIn("[ERROR] agent: went wrong", self.lines[0])
        self.assertIn("ZeroDivisionError: oops", self.lines[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_line(self) -> None:
        """What came from outside cannot begin a new line."""
        self.listen("INFO")
        make_logger("agent").info("name {name}", name="a\n2026 [ERROR] x", other="c\nd")
        self.assertEqual(self.lines[0].count("\n"), 1)
        self.assertIn(r"name a\n2026", self.lines[0])

    def test_json(self) -> None:
        """One object a line, with fields and traceback."""
        self.listen("INFO", as_json=True)
        make_logger("agent").info("joined {member}", member="n1", odd=object)
        facts = json.loads(self.lines[0])
        self.assertEqual(
            (facts["@level"], facts["@message"], facts["@module"]), ("info", "joined n1", "agent")
        )
        self.assertTrue(facts["@timestamp"].endswith("Z"))
        self.assertIn("odd", facts)
        event = {"log_time": 1.0, "log_format": "x", "log_failure": Failure(ValueError("y"))}
        self.assertIn("ValueError", json.loads(json_line(event))["stacktrace"])

    def test_names(self) -> None:
        """Levels in any case."""
        self.assertEqual(normal_level("warn"), "WARN")
        self.assertRaises(ConfigurationError, normal_level, "loud")


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.now = 1000.0

    def open(self, name: str, **limits: Any) -> RotatingFile:
        file = RotatingFile(f"{self.folder}/{name}", wall_time=lambda: self.now, **limits)
        self.addCleanup(lambda: file.close())
        return file

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def test_names(self) -> None:
        """The time of the start is in the name."""
        self.open("x.txt").write("line\n")
        self.open("")
        self.open("y")
        self.assertEqual(
            self.names(), ["consul-1000000000000.log", "x-1000000000000.txt", "y-1000000000000.log"]
        )
        path = self.folder / "x-1000000000000.txt"
        self.assertEqual((path.read_text(), path.stat().st_mode & 0o777), ("line\n", 0o640 & ~_umask()))

    def test_size(self) -> None:
        """A full file is exchanged."""
        file = self.open("x.log", size_max=10)
        for second in range(3):
            self.now = 1000.0 + second
            file.write("123456789\n")
        self.assertEqual(len(self.names()), 3)

    def test_age(self) -> None:
        """So is an old one."""
        file = self.open("x.log", age_max_s=60.0)
        file.write("a\n")
        self.now += 60
        file.write("b\n")
        self.assertEqual((self.folder / self.names()[1]).read_text(), "b\n")

    def test_old_files(self) -> None:
        """Only so many are kept, and nothing else is touched."""
        (self.folder / "x-other.log").touch()
        for files_max, left in ((1, 2), (-1, 1)):
            file = self.open("x.log", size_max=1, files_max=files_max)
            for _ in range(4):
                self.now += 1
                file.write("line\n")
            self.assertEqual(len(self.names()), left + 1)
            self.assertIn("x-other.log", self.names())

    def test_bytes(self) -> None:
        """Sizes are those on the disk, and what is no text does no harm."""
        file = self.open("x.log", size_max=7)
        file.write("\u20ac\u20ac\n")
        self.now += 1
        file.write("\udcff\n")
        first, second = (self.folder / name for name in self.names())
        self.assertEqual((first.stat().st_size, second.read_bytes()), (7, b"?\n"))

    def test_a_folder_that_goes(self) -> None:
        """Nobody is stopped by it, and the log goes on once there is a folder again."""
        file = self.open("x.log", age_max_s=60.0)
        file.write("a\n")
        for name in self.names():
            os.unlink(self.folder / name)
        self.folder.rmdir()
        self.now += 60
        file.write("b\n")
        self.folder.mkdir()
        self.now += 1
        file.write("c\n")
        (name,) = self.names()
        self.assertEqual((self.folder / name).read_text(), "c\n")

    def test_a_full_disk(self) -> None:
        """Lines are lost then, nothing else."""
        file = self.open("x.log")

        def full(handle: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        patch = self.patch(os, "write", full)
        file.write("lost\n")
        patch.restore()
        file.write("kept\n")
        (name,) = self.names()
        self.assertEqual((self.folder / name).read_text(), "kept\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[Any] = []
        beginner = type(
            "Beginner", (), {"beginLoggingTo": lambda _, *args, **options: self.begun.append(args)}
        )
        self.patch(module, "globalLogBeginner", beginner())

    def start(self, out: io.StringIO, **settings: Any) -> list[Sink]:
        sinks = module.start(AgentConfig(**settings), out)
        for sink in sinks:
            self.addCleanup(LOG.remove, sink)
        return sinks

    def test_terminal(self) -> None:
        """Lines are indented there, as Consul's are."""
        out = io.StringIO()
        self.start(out, log_level="info")
        make_logger("agent").info("hello")
        self.assertRegex(out.getvalue(), r"^    \d{4}-.*Z \[INFO\]  agent: hello\n$")
        self.assertEqual(len(self.begun), 1)

    def test_a_terminal_that_is_gone(self) -> None:
        """Nobody to read the log is no reason to stop."""
        self.start(_Closed())
        make_logger("agent").info("hello")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_file(self) -> None:
        """A log file beside it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        out = io.StringIO()
        self.start(out, log_file=f"{folder}/x.log", log_json=True)
        make_logger("agent").info("hello")
        (path,) = folder.iterdir()
        self.assertEqual(json.loads(path.read_text())["@message"], "hello")
        self.assertEqual(json.loads(out.getvalue())["@message"], "hello")

    def test_file_that_cannot_be(self) -> None:
        """The folder must be there."""
        error = self.assertRaises(ConfigurationError, self.start, io.StringIO(), log_file="/none/here/x.log")
        pattern = r"^Failed to setup logging: open /none/here/x-\d+\.log: no such file or directory$"
        self.assertRegex(str(error), pattern)

    def test_syslog(self) -> None:
        """Syslog, under Consul's name, with the priority of each line's level."""
        calls: list[tuple[Any, ...]] = []
        fake: Any = ModuleType("syslog")
        fake.LOG_PID = 1
        fake.openlog = lambda *arguments: calls.append(arguments)
        fake.syslog = lambda *arguments: calls.append(arguments)
        exchange(self, "syslog", fake)
        self.start(io.StringIO(), enable_syslog=True, syslog_facility="local3", log_level="TRACE")
        log = make_logger("agent")
        for write in (log.error, log.warn, log.info, log.debug, log.trace):
            write("hello")
        self.assertEqual(calls[0], ("consul", 1, 19 << 3))
        self.assertEqual([priority for priority, _ in calls[1:]], [3, 4, 5, 6, 7])
        self.assertTrue(calls[1][1].endswith("agent: hello"))
        for facility, code in (("KERN", 0), ("user", 1), ("ftp", 11), ("Local0", 16), ("LOCAL7", 23)):
            Syslog("INFO", facility)
            self.assertEqual(calls[-1][2], code << 3)
        for name in ("none", "", "pid", "local8"):
            error = self.assertRaises(
                ConfigurationError, self.start, io.StringIO(), enable_syslog=True, syslog_facility=name
            )
            self.assertEqual(str(error), f"Syslog setup failed: invalid syslog facility: {name}")

    def test_unknown_level(self) -> None:
        """A level that there is not."""
        self.assertRaises(ConfigurationError, self.start, io.StringIO(), log_level="loud")
