"""Doing without modules, in processes of their own since imports cannot be undone."""

import attr
from twisted.trial.unittest import SynchronousTestCase

from pyconsul import stand_ins
from tests.test_late_tls import run


class StandInTests(SynchronousTestCase):
    def test_twisted_works(self) -> None:
        """What is imported meanwhile works, with coroutines, futures and plugins; then all is as it was."""
        found = run(
            "import sys\n"
            "from pyconsul.stand_ins import STAND_INS, stand_ins\n"
            "with stand_ins():\n"
            "    from twisted import plugin\n"
            "    from twisted.internet import defer\n"
            "    from twisted.python import compat\n"
            "print(set(STAND_INS) & set(sys.modules), compat.escape('<'))\n"
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

    def test_reactor_works(self) -> None:
        """Processes, UNIX sockets, threads, host names, addresses and errors in the log."""
        found = run(
            "import io, os, sys, tempfile\n"
            "from pyconsul.stand_ins import stand_ins\n"
            "with stand_ins():\n"
            "    from twisted.internet import reactor, address, protocol, task, threads, utils\n"
            "    from twisted.logger import Logger, globalLogBeginner, textFileLogObserver\n"
            "out = io.StringIO()\n"
            "globalLogBeginner.beginLoggingTo([textFileLogObserver(out)], redirectStandardIO=False)\n"
            "path = os.path.join(tempfile.mkdtemp(), 's')\n"
            "try: address.IPv4Address('FTP', 'h', 1)\n"
            "except ValueError: print('refused', address.UNIXAddress('/x').name)\n"
            "async def main(reactor):\n"
            "    port = reactor.listenUNIX(path, protocol.Factory.forProtocol(protocol.Protocol))\n"
            "    print(os.path.exists(path), port.getHost().name.decode() == path)\n"
            "    await port.stopListening()\n"
            "    print((await utils.getProcessOutput('/bin/echo', ['hi'])).decode().strip())\n"
            "    print(await threads.deferToThread(lambda: 'threaded'))\n"
            "    print(await reactor.resolve('localhost'))\n"
            "    try: 1 / 0\n"
            "    except ZeroDivisionError: Logger().failure('oops')\n"
            "    print('ZeroDivisionError' in out.getvalue())\n"
            "task.react(main)\n"
        )
        expected = ["refused", "b'/x'", "True", "True", "hi", "threaded", "127.0.0.1", "True"]
        self.assertEqual(found.split(), expected)

    def test_none_for_what_is_there(self) -> None:
        """Nor is anything left behind when an import fails."""
        found = run(
            "import asyncio, sys\n"
            "from pyconsul.stand_ins import stand_ins\n"
            "try:\n"
            "    with stand_ins():\n"
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
            "from pyconsul.stand_ins import stand_ins\n"
            "with stand_ins():\n"
            "    from asyncio import iscoroutine, sleep\n"
            "    print('asyncio.tasks' in sys.modules)\n"
            "import asyncio\n"
            "print(sleep is asyncio.sleep, asyncio.iscoroutine is iscoroutine, len(asyncio.__path__))\n"
        )
        self.assertEqual(found.split(), ["True", "True", "False", "1"])

    def test_asked_again(self) -> None:
        """Whoever holds on to one is not sent to the real module each time."""
        found = run(
            "from pyconsul.stand_ins import StandIn\n"
            "stand_in = StandIn('colorsys', {})\n"
            "print(stand_in.rgb_to_hls is stand_in.__dict__['rgb_to_hls'])\n"
        )
        self.assertEqual(found.split(), ["True"])

    def test_what_they_give(self) -> None:
        """The same as the real ones, for what is asked of them."""
        import inspect
        import logging
        import platform
        import sys

        table = stand_ins.STAND_INS
        for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            number = getattr(logging, level)
            self.assertEqual(table["logging"][level], number)
            self.assertEqual(table["logging"]["getLevelName"](number), logging.getLevelName(number))
        for name in ("python_implementation", "system"):
            self.assertEqual(table["platform"][name](), getattr(platform, name)())
        things = (int, len, run, self, self.run, (one for one in "a"), sys)
        for name in ("isclass", "isfunction", "isgenerator"):
            told = [table["inspect"][name](thing) for thing in things]
            self.assertEqual(told, [getattr(inspect, name)(thing) for thing in things])
        self.assertEqual(table["inspect"]["getmro"](bool), inspect.getmro(bool))
        self.assertEqual(table["inspect"]["signature"](run), inspect.signature(run))
        converter = table["attr.converters"]["optional"](int)
        self.assertRaises(ValueError, table["inspect"]["signature"], converter)
        self.assertEqual((converter(None), converter("3")), (None, 3))
        chosen = attr.make_class("Chosen", {"a": attr.ib(validator=table["attr.validators"]["in_"]([1]))})
        chosen(1)
        self.assertRaises(ValueError, chosen, 2)
