"""Byte code in one file: modules are found as without it."""

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pyconsul import bundle
from tests.test_late_tls import run


class BundleTests(SynchronousTestCase):
    """Two folders, both with a module ``one``; the first with a package, the second with a module ``two``."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        for name, text in {
            "a/one.py": "value = 'a.one'\n",
            "a/pack/__init__.py": "value = 'pack'\n",
            "a/pack/inner.py": "value = 'inner'\n",
            "b/one.py": "value = 'b.one'\n",
            "b/two.py": "value = 'two'\n",
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.path = str(self.folder / "x.bundle")
        self.paths = f"import sys; sys.path[:0] = [{str(self.folder / 'a')!r}, {str(self.folder / 'b')!r}]\n"
        run(
            f"{self.paths}from pyconsul import bundle\n"
            "import one, two, pack.inner, _decimal\n"
            f"bundle.write([one, two, pack, pack.inner, _decimal, sys], {self.path!r})\n"
        )

    def ask(self, script: str) -> list[str]:
        return run(
            f"{self.paths}from pyconsul import bundle\nbundle.install({self.path!r})\n{script}"
        ).split()

    def test_found(self) -> None:
        """Code comes from the bundle, and what is said of a module is what Python says."""
        script = (
            "import one, two, pack.inner, _decimal, inspect\n"
            "for module in one, two, pack, pack.inner:\n"
            "    print(module.value, type(module.__loader__).__name__)\n"
            "print(_decimal.__file__.endswith('.so'))\n"
            "spec = pack.__spec__\n"
            "print(pack.__path__, spec.cached == pack.__cached__, pack.__file__ == spec.origin)\n"
            "print(inspect.getsource(two).strip() == \"value = 'two'\")\n"
        )
        found = self.ask(script)
        path = str([str(self.folder / "a/pack")])
        self.assertEqual(
            found,
            ["a.one", "Loader", "two", "Loader", "pack", "Loader", "inner", "Loader", "True"]
            + [path, "True", "True", "True"],
        )  # fmt: skip

    def test_changed(self) -> None:
        """A file that has changed or has gone is not taken from it; a new one comes before."""
        two = self.folder / "b/two.py"
        before = two.stat()
        two.write_text("value = 'TWO'\n")
        os.utime(two, ns=(before.st_atime_ns, before.st_mtime_ns + 10**10))
        (self.folder / "a/one.py").unlink()
        (self.folder / "a/pack/inner.py").write_text("value = 'another'\n")
        found = self.ask("import one, two, pack.inner\nprint(one.value, two.value, pack.inner.value)\n")
        self.assertEqual(found, ["b.one", "TWO", "another"])
        (self.folder / "a/two.py").write_text("value = 'new'\n")
        self.assertEqual(self.ask("import two\nprint(two.value)\n"), ["new"])

    def test_none_that_fits(self) -> None:
        """None, one of another Python, and one that is cut off or none at all: everything is as always."""
        script = "import one\nprint(one.value, type(one.__loader__).__name__)\n"
        whole = Path(self.path).read_bytes()
        size = int.from_bytes(whole[: bundle.SIZE_BYTES], "big")
        other = whole.replace(sys.version.encode(), sys.version[::-1].encode())
        for content in (other, whole[: size // 2], b"", b"x", b"\xff" * 100, b"\0" * 100):
            Path(self.path).write_bytes(content)
            self.assertEqual(self.ask(script), ["a.one", "SourceFileLoader"], content[:20])
        os.unlink(self.path)
        self.assertEqual(self.ask(script), ["a.one", "SourceFileLoader"])
        Path(self.path).write_bytes(whole[:-1])  # the code of the last module is not whole
        self.assertEqual(self.ask("import pack.inner\nprint(pack.inner.value)\n"), ["inner"])
