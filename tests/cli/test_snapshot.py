"""The command ``snapshot``."""

from __future__ import annotations

import os
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli.command import Terminal
from pyconsul.cli.main import main
from tests.cli.support import Answer, Result, run
from tests.client.canned import CannedServer, response
from tests.storage.test_archive import CAPTURED, H, M, made, packed

LEFT_OUT = (
    "3 x ACL token, 2 x ACL policy, 1 x ACL role, 1 x intention, 4 x config entry, "
    "1 x federation state\n"
)


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "backup.snap"

    def run_it(self, *arguments: str, answers: list[Answer | None] | None = None) -> Result:
        return run("snapshot", *arguments, answers=answers or [])

    def fails(self, text: str, *arguments: str, answers: list[Answer | None] | None = None) -> Result:
        result = self.run_it(*arguments, answers=answers)
        self.assertEqual((result.status, result.out), (1, ""))
        self.assertEqual(result.err, text + "\n")
        return result

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


class ArgumentTests(Base):
    def test_file(self) -> None:
        for name in ("save", "restore", "inspect"):
            self.fails("Missing FILE argument", name)
            self.fails("Too many arguments (expected 1, got 2)", name, "a", "b")

    def test_help(self) -> None:
        self.assertEqual(self.run_it().status, 1)
        result = self.run_it("-h")
        self.assertEqual(result.status, 0)
        for name in ("save", "restore", "inspect"):
            self.assertIn(f"    {name} ", result.out)
            self.assertIn(f"Usage: pyconsul snapshot {name} [options] FILE", self.run_it(name, "-h").out)


class SaveTests(Base):
    def test_save(self) -> None:
        """The file is whole, and for nobody else."""
        data = made()
        result = self.run_it("save", str(self.path), answers=[(200, data)])
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual(result.out, "Saved and verified snapshot to index 53\n")
        self.assertEqual(result.lines, ["GET /v1/snapshot"])
        self.assertEqual(self.path.read_bytes(), data)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.files(), ["backup.snap"])

    def test_options(self) -> None:
        result = self.run_it("save", "-stale", "-datacenter=dc2", str(self.path), answers=[(200, made())])
        self.assertEqual(result.lines, ["GET /v1/snapshot?dc=dc2&stale"])

    def test_overwrites(self) -> None:
        self.path.write_bytes(b"old")
        self.run_it("save", str(self.path), answers=[(200, made())])
        self.assertEqual((self.path.read_bytes(), self.files()), (made(), ["backup.snap"]))

    def test_refused(self) -> None:
        """An old file stays when there is no new one."""
        self.path.write_bytes(b"old")
        self.fails(
            "Error saving snapshot: Unexpected response code: 500 (No path to datacenter)",
            "save",
            str(self.path),
            answers=[(500, b"No path to datacenter")],
        )
        self.assertEqual((self.path.read_bytes(), self.files()), (b"old", ["backup.snap"]))

    def test_broken_off(self) -> None:
        """What is not whole never gets the name."""
        self.fails(
            "Error verifying snapshot file: unexpected EOF",
            "save",
            str(self.path),
            answers=[(200, made()[:-3])],
        )
        self.assertEqual(self.files(), [])

    def test_connection_lost(self) -> None:
        """In the middle of the body."""
        with CannedServer([response(200, made())[:-100]]) as server:
            terminal: Any = _Terminal()
            status = main(["snapshot", "save", f"-http-addr={server.address}", str(self.path)], terminal)
        self.assertEqual(status, 1)
        self.assertIn("Error saving snapshot: ", terminal.errors)
        self.assertEqual(self.files(), [])

    def test_no_agent(self) -> None:
        result = run("snapshot", "save", "-http-addr=127.0.28.99:1", str(self.path))
        self.assertEqual(result.status, 1)
        self.assertIn('Error saving snapshot: Get "http://127.0.28.99:1/v1/snapshot": dial tcp', result.err)
        self.assertEqual(self.files(), [])

    def test_no_folder(self) -> None:
        """Nobody is asked then."""
        result = self.run_it("save", "/none/x")
        self.assertEqual((result.status, result.lines), (1, []))
        start = "Error writing unverified snapshot file: open /none/x.unverified.tmp"
        self.assertRegex(result.err, f"^{start}.*: no such file or directory\n$")

    def test_is_a_folder(self) -> None:
        where = str(self.folder)
        result = self.run_it("save", where, answers=[(200, made())])
        self.assertEqual(result.status, 1)
        self.assertRegex(result.err, f'^Error renaming ".*{where}.unverified.*" to "{where}": rename ')
        self.assertEqual([name for name in os.listdir(self.folder.parent) if "unverified" in name], [])

    def test_disk_full(self) -> None:
        limits = getrlimit(RLIMIT_FSIZE)
        self.addCleanup(setrlimit, RLIMIT_FSIZE, limits)
        setrlimit(RLIMIT_FSIZE, (1000, limits[1]))
        result = self.run_it("save", str(self.path), answers=[(200, made())])
        setrlimit(RLIMIT_FSIZE, limits)
        self.assertEqual(result.status, 1)
        self.assertIn("Error writing unverified snapshot file: file too large", result.err)
        self.assertEqual(self.files(), [])


class _Terminal(Terminal):
    def __init__(self) -> None:
        self.errors = ""
        self.environ = {}

    def err(self, text: str = "") -> None:
        self.errors += text + "\n"


class RestoreTests(Base):
    def test_restore(self) -> None:
        self.path.write_bytes(made())
        result = self.run_it("restore", str(self.path), answers=[(200, b"")])
        self.assertEqual((result.status, result.out, result.err), (0, "Restored snapshot\n", ""))
        self.assertEqual((result.lines, result.bodies), (["PUT /v1/snapshot"], [made()]))

    def test_options(self) -> None:
        self.path.write_bytes(made())
        result = self.run_it("restore", "-datacenter=dc2", "-stale", str(self.path), answers=[(200, b"")])
        self.assertEqual(result.lines, ["PUT /v1/snapshot?dc=dc2&stale"])

    def test_not_everything(self) -> None:
        """What the servers left out is said."""
        self.path.write_bytes(made())
        answer = response(200, b"", "X-Pyconsul-Not-Restored: 3 x ACL token\r\n")
        with CannedServer([answer]) as server:
            result = run("snapshot", "restore", f"-http-addr={server.address}", str(self.path))
        self.assertEqual((result.status, result.out), (0, "Restored snapshot\n"))
        self.assertEqual(result.err, "Warning: not everything could be restored, left out: 3 x ACL token\n")

    def test_refused(self) -> None:
        self.path.write_bytes(b"junk")
        self.fails(
            "Error restoring snapshot: Unexpected response code: 500 (failed to decompress snapshot: EOF)",
            "restore",
            str(self.path),
            answers=[(500, b"failed to decompress snapshot: EOF")],
        )

    def test_no_file(self) -> None:
        self.fails("Error opening snapshot file: open nofile: no such file or directory", "restore", "nofile")
        self.fails("Error opening snapshot file: open /: is a directory", "restore", "/")


class InspectTests(Base):
    def test_ours(self) -> None:
        state = b"\x81\xa9LastIndex\x05"
        self.path.write_bytes(made(state))
        result = self.run_it("inspect", str(self.path))
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual(
            result.out,
            "ID           2-53-1795552021608\nSize         12\nIndex        53\nTerm         2\n"
            "Version      1\n\n",
        )

    def test_consuls(self) -> None:
        """What would be left out is named."""
        result = self.run_it("inspect", str(CAPTURED))
        self.assertEqual(result.status, 0)
        self.assertTrue(result.out.startswith("ID           2-"))
        self.assertEqual(
            result.err, f"Warning: pyconsul would not restore everything, but leave out: {LEFT_OUT}"
        )

    def test_state_of_no_use(self) -> None:
        """An archive may be whole and hold something else than records."""
        self.path.write_bytes(packed(M, ("state.bin", b"state"), H))
        result = self.run_it("inspect", str(self.path))
        self.assertEqual(result.status, 0)
        self.assertIn("Index        53\n", result.out)
        self.assertIn("Warning: this snapshot cannot be restored here: the header", result.err)

    def test_damaged(self) -> None:
        self.path.write_bytes(b"this is no archive")
        self.fails(
            "Error verifying snapshot: failed to decompress snapshot: gzip: invalid header",
            "inspect",
            str(self.path),
        )
        self.fails("Error opening snapshot file: open nofile: no such file or directory", "inspect", "nofile")
