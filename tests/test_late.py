"""Loading modules late, in processes of their own since imports cannot be undone."""

from twisted.trial.unittest import SynchronousTestCase

from tests.test_late_tls import run


class LateTests(SynchronousTestCase):
    def test_loaded_when_looked_into(self) -> None:
        """The module is there, and is nothing until something in it is asked for."""
        found = run(
            "import sys\n"
            "from pyconsul import late\n"
            "late.postpone(late.COOKIES)\n"
            "late.postpone(late.COOKIES)\n"
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
            "late.postpone(late.COOKIES)\n"
            "from http import cookiejar as later\n"
            "print(cookiejar is later, type(later).__name__)\n"
        )
        self.assertEqual(found, "True module")
