"""``retry_join`` by other means than addresses: ``provider=NAME key=value ...``.

A provider is a function that gives addresses. Three are here; packages offer more as entry points of
the group ``pyconsul.join`` (docs/howto/find-other-agents.rst). They are asked anew for each attempt.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

from pyconsul.agent.joining import Join
from pyconsul.errors import ConfigurationError, Refused
from pyconsul.log import make_logger

GROUP = "pyconsul.join"
PREFIX = "provider="
TIMEOUT_S = 10.0
ADDRESSES_MAX = 256
TEXT_BYTES_MAX = 64 * 1024

Provider: TypeAlias = Callable[..., Any]
"""Takes the options as keyword arguments and gives addresses. A coroutine function, and one with a
parameter ``reactor``, runs in the reactor's thread and may give a Deferred; any other in one of its own."""


# ---------------------------------------------------------------- the providers


async def dns_srv(reactor: Any, name: str, resolver: str = "") -> list[str]:
    """The targets of a name's SRV records, the best first.

    :param resolver: ``HOST`` or ``HOST:PORT`` to ask instead of the system's resolvers.
    """
    from twisted.names import client, dns

    servers = None
    if resolver:
        host, _, port = resolver.partition(":")
        servers = [(host, int(port or 53))]
    asking: Any = client.Resolver(
        resolv=None if servers else "/etc/resolv.conf", servers=servers, reactor=reactor
    )
    answers, _, more = await asking.lookupService(name, timeout=[2, 4])
    known = {record.name.name: record.payload.dottedQuad() for record in more if record.type == dns.A}
    found = sorted(
        (record.payload for record in answers if record.type == dns.SRV),
        key=lambda srv: (srv.priority, -srv.weight),
    )
    return [f"{known.get(srv.target.name, srv.target.name.decode())}:{srv.port}" for srv in found]


async def file(path: str) -> list[str]:
    """The lines of a file; ``#`` begins a comment."""
    with open(path, encoding="utf-8") as lines:
        return addresses_in(lines.read(TEXT_BYTES_MAX))


async def execute(reactor: Any, command: str) -> list[str]:
    """The lines that a program prints; there is no shell."""
    args = shlex.split(command)
    from pyconsul.checks.outcome import Tail
    from pyconsul.checks.script import Running, which

    program = which(args[0]) if args else None
    if program is None:
        raise Refused(f'exec: "{command}": executable file not found in $PATH')
    tail = Tail(TEXT_BYTES_MAX)
    running = Running(tail)
    reactor.spawnProcess(running, program, args, env=os.environ, childFDs={0: "w", 1: "r", 2: 2})
    status = await running.done
    if status != 0:
        raise Refused(f'exec: "{command}" ended with status {status}')
    return addresses_in(tail.text())


def addresses_in(text: str) -> list[str]:
    """One address a line, without comments and empty lines."""
    return [line for line in (raw.partition("#")[0].strip() for raw in text.splitlines()) if line]


BUILT_IN: Mapping[str, Provider] = {"dns-srv": dns_srv, "exec": execute, "file": file}


# ---------------------------------------------------------------- finding and asking them


def offered() -> dict[str, Any]:
    """The entry points of packages, by name; nothing of them is loaded yet."""
    from importlib.metadata import entry_points  # only who uses a provider needs it

    return {point.name: point for point in entry_points(group=GROUP)}


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Name and options of ``provider=NAME key=value ...``; values with spaces stand in quotes.

    :raises ConfigurationError: if it has another form or options that the provider does not take.
    """
    options: dict[str, str] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"retry_join: {text}: {error}") from None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigurationError(f'retry_join: {text}: "{word}" is not key=value')
        options[key] = value
    name = options.pop("provider")
    if name in BUILT_IN:
        _check_options(text, BUILT_IN[name], options)
    elif name not in (others := offered()):
        known = ", ".join(sorted({*BUILT_IN, *others}))
        raise ConfigurationError(f"discover: unknown provider {name} (known: {known})")
    return name, options


def _check_options(text: str, provider: Provider, options: Mapping[str, str]) -> None:
    extra = {"reactor": None} if _wants_reactor(provider) else {}
    try:
        inspect.signature(provider).bind(**extra, **options)
    except TypeError as error:
        raise ConfigurationError(f"retry_join: {text}: {error}") from None


def _wants_reactor(provider: Provider) -> bool:
    return "reactor" in inspect.signature(provider).parameters


class Discovery:
    """A ``Join`` that first asks the providers among the addresses.

    :param addresses: all that will be joined; wrong ones are refused at once.
    :param cluster: ``LAN`` or ``WAN``, for the log.
    :raises ConfigurationError: naming the provider that does not exist, and those that do.
    """

    def __init__(self, join: Join, addresses: Sequence[str], reactor: Any, cluster: str = "LAN") -> None:
        self._log = make_logger("agent")
        self._join = join
        self._reactor = reactor
        self._cluster = cluster
        self._parsed = {text: parse(text) for text in addresses if text.startswith(PREFIX)}

    def __call__(self, addresses: Sequence[str]) -> Deferred[int]:
        """Join; fires with how many answered."""
        if not self._parsed:
            return self._join(addresses)
        return Deferred.fromCoroutine(self._discover(addresses))

    async def _discover(self, addresses: Sequence[str]) -> int:
        found: dict[str, None] = {}
        for address in addresses:
            if address not in self._parsed:
                found[address] = None
                continue
            try:
                found.update(dict.fromkeys(await self._ask(*self._parsed[address])))
            except Exception as error:
                self._log.error(
                    "Cannot discover address: cluster={cluster} address={address} error={why}",
                    cluster=self._cluster, address=address, why=str(error) or type(error).__name__,
                )  # fmt: skip
        if not found:
            raise Refused("No servers to join")
        self._log.info(
            "Discovered servers: cluster={cluster} servers={servers}",
            cluster=self._cluster, servers=" ".join(found),
        )  # fmt: skip
        return await self._join(list(found))

    async def _ask(self, name: str, options: Mapping[str, str]) -> list[str]:
        provider: Provider = BUILT_IN[name] if name in BUILT_IN else offered()[name].load()
        asking: Deferred[Any]
        if _wants_reactor(provider):
            asking = maybeDeferred(provider, reactor=self._reactor, **options)
        elif inspect.iscoroutinefunction(provider):
            asking = maybeDeferred(provider, **options)
        else:
            pool = self._reactor.getThreadPool()
            asking = deferToThreadPool(self._reactor, pool, provider, **options)
        given = await asking.addTimeout(TIMEOUT_S, self._reactor)
        return [str(address) for address in given][:ADDRESSES_MAX]
