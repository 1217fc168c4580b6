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

    def test_stand_ins(self) -> None:
        """What is imported meanwhile works, with coroutines, futures and plugins; then all is as it was."""
        found = run(
            "import sys\n"
            "from pyconsul import late\n"
            "with late.stand_ins():\n"
            "    from twisted import plugin\n"
            "    from twisted.internet import defer\n"
            "    from twisted.python import compat\n"
            "print(set(late.STAND_INS) & set(sys.modules), compat.escape('<'))\n"
            "async def three(): return 3\n"
            "defer.maybeDeferred(three).addCallback(print)\n"
            "defer.maybeDeferred(lambda: 4).addCallback(print)\n"
            "defer.Deferred.fromCoroutine(three()).addCallback(print)\n"
            "print(len([*plugin.getPlugins(plugin.IPlugin)]) > 0)\n"
            "import asyncio\n"
            "async def main():\n"
            "    defer.Deferred.fromFuture(asyncio.ensure_future(three())).addCallback(print)\n"
            "    print(await defer.succeed(5).asFuture(asyncio.get_running_loop()))\n"
            "asyncio.run(main())\n"
        )
        self.assertEqual(found.split(), ["set()", "&lt;", "3", "4", "3", "True", "5", "3"])

    def test_no_stand_in_for_what_is_there(self) -> None:
        """Nor is anything left behind when an import fails."""
        found = run(
            "import asyncio, sys\n"
            "from pyconsul import late\n"
            "try:\n"
            "    with late.stand_ins():\n"
            "        print(sys.modules['asyncio'] is asyncio, 'html' in sys.modules)\n"
            "        import pyconsul.no_such_module\n"
            "except ImportError:\n"
            "    print('html' in sys.modules)\n"
        )
        self.assertEqual(found.split(), ["True", "True", "False"])

    def test_names_that_nobody_thought_of(self) -> None:
        """Another Twisted may import more: then the real module is loaded."""
        found = run(
            "import sys\n"
            "from pyconsul import late\n"
            "with late.stand_ins():\n"
            "    from asyncio import iscoroutine, sleep\n"
            "    print('asyncio.tasks' in sys.modules)\n"
            "import asyncio\n"
            "print(sleep is asyncio.sleep, asyncio.iscoroutine is iscoroutine, len(asyncio.__path__))\n"
        )
        self.assertEqual(found.split(), ["True", "True", "False", "1"])
