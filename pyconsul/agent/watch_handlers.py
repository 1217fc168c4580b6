"""What a watch calls: a program, a URL, or a Python function."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, maybeDeferred

from pyconsul.checks.definition import HTTP, CheckType
from pyconsul.checks.http import HttpProbe
from pyconsul.checks.outcome import Tail
from pyconsul.checks.script import Running, shell, spawn_group, which
from pyconsul.checks.tls import CheckTls
from pyconsul.errors import ConfigurationError, Refused
from pyconsul.log import make_logger
from pyconsul.structs.catalog import CRITICAL, WARNING
from pyconsul.structs.durations import parse_ns
from pyconsul.structs.watch import Parameters

Handler: TypeAlias = Callable[[bytes, int], Awaitable[Any]]
"""Called with the data, as JSON, and its index; a failure is told in the log."""

GROUP = "pyconsul.watches"
OUTPUT_BYTES_MAX = 4096
HTTP_TIMEOUT_NS = 10_000_000_000
HTTP_FIELDS = ("path", "method", "header", "timeout", "tls_skip_verify")
DEPRECATED = "The 'handler' field in watches has been deprecated and replaced with the 'args' field."

_log = make_logger("agent.watch")


# ---------------------------------------------------------------- a program


def script_handler(parameters: Parameters, reactor: Any) -> Handler:
    """A program that gets the data on standard input and ``CONSUL_INDEX`` in its environment."""
    line, args = parameters.text("handler"), parameters.texts("args")
    if line and args:
        raise ConfigurationError("Only one watch handler allowed")
    if line:
        _log.warn("{text}", text=DEPRECATED)
        args = shell(line)
    if not args:
        raise ConfigurationError("Must define a watch handler")

    async def run(data: bytes, index: int) -> None:
        program = which(args[0])
        if program is None:
            raise Refused(f'exec: "{args[0]}": executable file not found in $PATH')
        tail = Tail(OUTPUT_BYTES_MAX)
        running = _Fed(tail, data)
        spawn_group(reactor, running, program, args, env={**os.environ, "CONSUL_INDEX": str(index)})
        status = await running.done
        _log.debug("watch handler output: {program}: {output}", program=args[0], output=tail.captured())
        if status != 0:
            raise Refused(f"exit status {status}" if status is not None else "ended by a signal")

    return run


class _Fed(Running):
    """A process that is given something on its standard input."""

    def __init__(self, tail: Tail, data: bytes) -> None:
        super().__init__(tail)
        self._data = data

    def connectionMade(self) -> None:
        """It runs: let it read."""
        self.transport.write(self._data)  # type: ignore[union-attr]
        super().connectionMade()


# ---------------------------------------------------------------- a URL


def http_handler(parameters: Parameters, reactor: Any) -> Handler:
    """A URL that the data is sent to, with ``X-Consul-Index``."""
    given = parameters.take("http_handler_config")
    if given is None:
        raise ConfigurationError("Handler type 'http' requires 'http_handler_config' to be set")
    try:
        definition = _http_definition(given)
    except ConfigurationError as error:
        raise ConfigurationError(f"Failed to parse 'http_handler_config': {error}") from None
    tls = CheckTls()

    async def send(data: bytes, index: int) -> None:
        body = data.decode("utf-8", "surrogateescape")
        header = {**definition.header, "X-Consul-Index": [str(index)]}
        probe = HttpProbe(replace(definition, body=body, header=header), reactor, tls)
        running = probe.run()
        timer = reactor.callLater(definition.timeout_s, running.cancel)
        try:
            outcome = await running
        except CancelledError:
            if timer.active():  # the watch is ended
                raise
            outcome = probe.timed_out()
        finally:
            if timer.active():
                timer.cancel()
        if outcome.status in (CRITICAL, WARNING):
            raise Refused(outcome.output)

    return send


def _http_definition(given: Any) -> CheckType:
    # HCL gives a block as a list of one.
    value = given[0] if isinstance(given, list) and len(given) == 1 else given
    if not isinstance(value, Mapping):
        raise ConfigurationError("Expecting a map")
    parameters = Parameters(value)
    path = parameters.text("path")
    if not path:
        raise ConfigurationError("Requires 'path' to be set")
    method = parameters.text("method") or "POST"
    timeout = parameters.text("timeout")
    try:
        timeout_ns = parse_ns(timeout) if timeout else HTTP_TIMEOUT_NS
    except ValueError as error:
        raise ConfigurationError(f"Failed to parse timeout: {error}") from None
    skip = parameters.flag("tls_skip_verify")
    header = parameters.take("header") or {}
    parameters.finish()
    if not isinstance(header, Mapping) or not all(isinstance(v, list) for v in header.values()):
        raise ConfigurationError("Expecting header to be a map of lists")
    return CheckType(
        check_id="watch", kind=HTTP, target=path, method=method, timeout_s=timeout_ns / 1e9,
        header={"Content-Type": ["application/json"], **header}, tls_skip_verify=skip,
        output_bytes_max=OUTPUT_BYTES_MAX,
    )  # fmt: skip


# ---------------------------------------------------------------- Python


def python_handler(parameters: Parameters, reactor: Any) -> Handler:
    """A function that an installed package offers as an entry point of ``pyconsul.watches``.

    It is called with the data and its index in the reactor's thread, and may give a Deferred or be a
    coroutine function.
    """
    name = parameters.text("python")
    if not name:
        raise ConfigurationError("Handler type 'python' requires 'python' to be set")
    from importlib.metadata import entry_points  # only who uses such a handler needs it

    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none is installed"
        raise ConfigurationError(f"no Python handler is called '{name}' (known: {known})")
    function = offered[name].load()

    async def call(data: bytes, index: int) -> None:
        await maybeDeferred(function, data, index)

    return call


KINDS: Mapping[str, Callable[[Parameters, Any], Handler]] = {
    "script": script_handler,
    "http": http_handler,
    "python": python_handler,
}
"""What a definition's ``handler_type`` may be; each takes its parameters."""
