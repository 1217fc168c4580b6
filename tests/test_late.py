"""Loading modules late, in processes of their own since imports cannot be undone."""

import re

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.late_patterns import compile_late
from tests.test_late_tls import run


class LateTests(SynchronousTestCase):
    def test_loaded_when_looked_into(self) -> None:
        """The module is there, and is nothing until something in it is asked for."""
        found = run(
            "import sys\n"
            "from pyconsul import late\n"
            "late.postpone('http.cookiejar')\n"
            "late.postpone('http.cookiejar')\n"
            "from http import cookiejar\n"
            "print('http.client' in sys.modules, end=' ')\n"
            "cookiejar.CookieJar\n"
            "print('http.client' in sys.modules)\n"
        )
        self.assertEqual(found, "False True")

    def test_loaded_already(self) -> None:
        """A module that is there stays what it is."""
        found = run(
            "from http import cookiejar\n"
            "from pyconsul import late\n"
            "late.postpone('http.cookiejar')\n"
            "from http import cookiejar as later\n"
            "print(cookiejar is later, type(later).__name__)\n"
        )
        self.assertEqual(found, "True module")


class LatePatternsTests(SynchronousTestCase):
    def test_as_if_compiled(self) -> None:
        """Patterns of text and of bytes, with flags."""
        word = compile_late(r"[a-z]+", re.IGNORECASE)
        for _ in range(2):
            found = word.fullmatch("aB")
            self.assertEqual(found and found[0], "aB")
        self.assertIsNone(compile_late(rb"[a-z]+").fullmatch(b"aB"))
        self.assertEqual(word.pattern, "[a-z]+")
