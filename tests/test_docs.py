"""That the documentation names files that are there."""

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
_PATH = re.compile(r"(?<![\w/.-])((?:pyconsul|tests|twisted|etc|docs|bin)/[\w./+-]*)")


def architecture() -> list[Path]:
    """The pages about how the program is built."""
    docs = ROOT / "docs"
    return sorted({*docs.glob("architecture*.rst"), *docs.glob("architecture/**/*.rst")})


def named(text: str) -> Iterator[str]:
    """Paths of files and folders of this project that a text names."""
    for found in _PATH.finditer(text):
        yield found[1].rstrip(".")


class DocsTests(SynchronousTestCase):
    def test_named_files(self) -> None:
        """Every path that the architecture pages and the README name exists."""
        missing = [
            f"{page.relative_to(ROOT)}: {path}"
            for page in [*architecture(), ROOT / "README.md"]
            for path in named(page.read_text("utf-8"))
            if not (ROOT / path).exists()
        ]
        self.assertEqual(missing, [], "\n" + "\n".join(missing))

    def test_there_is_a_map(self) -> None:
        """Somebody new finds a page about the architecture."""
        self.assertNotEqual(architecture(), [])

    def test_readme_has_the_two_commands(self) -> None:
        """And it has them as they are."""
        readme = (ROOT / "README.md").read_text("utf-8")
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        for target in ("run", "test"):
            self.assertIn(f"make {target}", readme)
            self.assertIn(target, targets)

    def test_finding_paths(self) -> None:
        """Paths in prose, with and without punctuation; no parts of longer ones."""
        text = "see ``pyconsul/raft/core.py``, tests/sim. Not /usr/lib/pyconsul/x.py or https://x/docs/y."
        self.assertEqual(list(named(text)), ["pyconsul/raft/core.py", "tests/sim"])
