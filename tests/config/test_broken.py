"""Configuration files that are broken in all sorts of ways: one clear error each."""

from __future__ import annotations

import io
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.cli.command import Terminal
from pyconsul.cli.main import main
from tests.config.broken import GOOD, Broken, Maker, Text

SEED, COUNT = 20, 600


EFFECTLESS = "Accepted, but without effect yet: acl.tokens.default\n"


class BrokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def validate(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status and output of ``pyconsul validate``, run in this process."""
        out, err = io.StringIO(), io.StringIO()
        status = main(["validate", *arguments], Terminal(io.BytesIO(), out, err, {}))
        return status, out.getvalue(), err.getvalue()

    def check(self, broken: Broken, number: int) -> None:
        folder = self.folder / str(number)
        folder.mkdir()
        for name, content in broken.files.items():
            (folder / name).write_bytes(content)
        status, out, err = self.validate(str(folder))
        path = str(folder / broken.wrong)
        told = f"{number}, {broken.what}: {err[:600]}\n{broken.files[broken.wrong][:3000]!r}"
        self.assertEqual((status, out), (1, ""), told)
        self.assertTrue(err.startswith("Config validation failed: "), told)
        self.assertIn(path, err, told)
        for text in broken.says:
            self.assertIn(text, err, told)
        if broken.line:
            self.assertTrue(f"line {broken.line}" in err or f"{path}:{broken.line}" in err, told)
        err.encode()
        self.assertLess(len(err), 4000, told)

    def test_files(self) -> None:
        """Each is refused, with its name, the line where that can be known, and what is wrong."""
        for number, broken in enumerate(Maker(SEED).make(COUNT)):
            self.check(broken, number)

    def test_good(self) -> None:
        """What they are made of is good."""
        for form in ("hcl", "json"):
            path = self.folder / f"good.{form}"
            path.write_text(Text(GOOD, form).text, "utf-8")
            self.assertEqual(self.validate(str(path)), (0, "Configuration is valid!\n", EFFECTLESS))

    def test_paths(self) -> None:
        """Files and folders that cannot be read are named, with the reason."""
        file = self.folder / "file.json"
        file.write_text("{}", "utf-8")
        (self.folder / "links").mkdir()
        os.symlink("nowhere", self.folder / "links" / "a.json")
        os.symlink("loop.json", self.folder / "loop.json")
        for path, reason in (
            ("missing.json", "no such file or directory"),
            ("missing/below.json", "no such file or directory"),
            ("file.json/x.json", "not a directory"),
            ("loop.json", "too many levels of symbolic links"),
            ("x" * 300 + ".json", "file name too long"),
            ("nul\0.json", "embedded null byte"),
            ("links", "no such file or directory"),
        ):
            whole = f"{self.folder}/{path}"
            status, _, err = self.validate(whole)
            self.assertEqual(status, 1, path)
            self.assertIn(f"Config validation failed: config: Open failed on {whole}", err)
            self.assertIn(reason, err)

    def test_endless(self) -> None:
        """A file without an end is not read to it."""
        status, _, err = self.validate("-config-format=json", "/dev/zero")
        self.assertEqual(status, 1)
        self.assertIn("failed to parse /dev/zero: larger than", err)

    def test_hints(self) -> None:
        """The nearest name is nearly always the one that was misspelt."""
        near = 0
        misspelt = [broken for broken in Maker(7).make(COUNT) if broken.what.startswith("unknown key")]
        for number, broken in enumerate(misspelt):
            path = self.folder / f"{number}-{broken.wrong}"
            path.write_bytes(broken.files[broken.wrong])
            wrong = broken.says[0].rpartition(" ")[2].rpartition(".")[2]
            found = self.validate(str(path))[2].partition("did you mean ")[2].partition("?")[0]
            near += sorted(wrong.rstrip("s")) == sorted(found.rstrip("s")) or len(found) == len(wrong) + 1
        self.assertGreater(near, 0.9 * len(misspelt))
