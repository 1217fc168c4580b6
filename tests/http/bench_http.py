"""A server with a fake agent, to put load on: ``python -m tests.http.bench_http --address 127.0.23.2``.

``--reactor lean|epoll``, ``--lane on|off``, ``--kept on|off``; then for instance
``wrk -c 64 -t 1 -d 5 http://127.0.23.2:8500/v1/kv/a``. Prints the CPU time used so far on SIGUSR1.
"""

import argparse
import gc
import resource
import signal
import sys


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--address", required=True)
    arguments.add_argument("--port", type=int, default=8500)
    arguments.add_argument("--reactor", choices=("lean", "epoll"), default="lean")
    arguments.add_argument("--lane", choices=("on", "off"), default="on")
    arguments.add_argument("--kept", choices=("on", "off"), default="on")
    options = arguments.parse_args()
    if options.reactor == "lean":
        from pyconsul.net.reactor import install
    else:
        from twisted.internet.epollreactor import install
    install()
    import time

    from twisted.internet import reactor

    from pyconsul.http.app import make_site
    from pyconsul.http.settings import HttpSettings
    from tests.http.fakes import FakeAgent

    agent = FakeAgent()
    agent.asked = type("Forgetful", (list,), {"append": lambda self, item: None})()
    agent.watching = type("Forgetful", (list,), {"append": lambda self, item: None})()
    settings = HttpSettings(
        lane=options.lane == "on",
        kept_answers_max=8192 if options.kept == "on" else 0,
        connections_per_client_max=0,
    )
    site = make_site(agent, settings, reactor, time.time)
    reactor.listenTCP(options.port, site, 1024, options.address)

    def report(*_: object) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(usage.ru_utime + usage.ru_stime, file=sys.stdout, flush=True)

    signal.signal(signal.SIGUSR1, report)
    gc.collect()
    gc.freeze()
    reactor.run()


if __name__ == "__main__":
    main()
