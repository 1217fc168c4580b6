"""Watches of the configuration: an agent that tells a program when something has changed.

Each watch asks this agent's own HTTP interface, without a connection, and calls its handler with the
data: one call at a time, and only when the data has changed (specs of runtime, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError, PyconsulError
from pyconsul.log import make_logger
from pyconsul.structs.watch import Follower, Parameters, Watch, parse, retry_wait_s

if TYPE_CHECKING:
    from pyconsul.agent.watch_handlers import Handler


Ask = Callable[[str, str], Deferred[tuple[int, int, bytes]]]
"""Answers a GET of a target with a token: status, index, body."""


def prepare(definition: Mapping[str, Any], reactor: Any) -> tuple[Watch, Handler]:
    """What a definition of the configuration means.

    :raises ConfigurationError: in Consul's words, naming the definition.
    """
    from pyconsul.agent import watch_handlers  # few agents have any, and it loads much

    parameters = Parameters(definition)
    try:
        kind = parameters.text("handler_type") or "script"
        maker = watch_handlers.KINDS.get(kind)
        if maker is None:
            raise ConfigurationError(f"Handler type '{kind}' not recognized")
        watch = parse(parameters)
        handler = maker(parameters, reactor)
        parameters.finish()
    except ConfigurationError as error:
        raise ConfigurationError(f"Failed to parse watch ({_shown(definition)}): {error}") from None
    return watch, handler


def _shown(definition: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in definition.items() if key != "token"}
    return ", ".join(f"{key}={value!r}" for key, value in shown.items())


class Watching:
    """All watches of this agent; a part of what is reloaded.

    :param ask: this agent's HTTP interface.
    """

    def __init__(self, ask: Ask, reactor: Any) -> None:
        self._ask = ask
        self._reactor = reactor
        self._running: list[tuple[Mapping[str, Any], _Run]] = []

    def start(self, definitions: Sequence[Mapping[str, Any]]) -> None:
        """Begin to watch.

        :raises ConfigurationError: if one of them is wrong; nothing was begun then.
        """
        for definition, (watch, handler) in [(d, prepare(d, self._reactor)) for d in definitions]:
            run = _Run(watch, handler, self._ask, self._reactor)
            self._running.append((definition, run))
            run.start()

    def stop(self) -> None:
        """End all watches. A handler that runs is ended too."""
        running, self._running = self._running, []
        for _, run in running:
            run.stop()

    # ------------------------------------------------------------ as a part of what is reloaded

    def changes(self, old: AgentConfig, new: AgentConfig) -> list[str]:
        """A line for each watch that comes or goes."""
        for definition in new.watches:
            prepare(definition, self._reactor)
        had = [definition for definition, _ in self._running]
        lines = [f"watch {_shown(gone)}: removed" for gone in had if gone not in new.watches]
        return lines + [f"watch {_shown(added)}: added" for added in new.watches if added not in had]

    def apply(self, old: AgentConfig, new: AgentConfig) -> None:
        """End what is gone, begin what is new; the others go on from where they are."""
        kept = [(definition, run) for definition, run in self._running if definition in new.watches]
        gone = [run for definition, run in self._running if definition not in new.watches]
        self._running = kept
        for run in gone:
            run.stop()
        had = [definition for definition, _ in kept]
        self.start([definition for definition in new.watches if definition not in had])


class _Run:
    """One watch that is followed."""

    def __init__(self, watch: Watch, handler: Handler, ask: Ask, clock: IReactorTime) -> None:
        self._log = make_logger("agent.watch")
        self._watch = watch
        self._follower = Follower(watch)
        self._handler = handler
        self._ask = ask
        self._clock = clock
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Follow it for ever."""
        self._running = Deferred.fromCoroutine(self._follow())
        self._running.addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a watch ended by a bug", failure)

    def stop(self) -> None:
        """No more."""
        self._stopped = True
        if self._running is not None:
            self._running.cancel()

    async def _follow(self) -> None:
        failures = 0
        while not self._stopped:
            try:
                answer = await self._ask(self._follower.target(), self._watch.token)
                data = self._follower.answered(*answer)
                failures = 0
            except PyconsulError as error:
                if self._stopped:  # that is what the error says
                    return
                failures += 1
                await self._retry(failures, str(error))
                continue
            if data is not None:
                await self._deliver(data, answer[1])

    async def _deliver(self, data: bytes, index: int) -> None:
        try:
            await self._handler(data + b"\n", index)
        except CancelledError:
            raise
        except Exception as error:
            self._log.error(
                "Failed to run watch handler: {kind}: {error}", kind=self._watch.kind, error=error
            )

    async def _retry(self, failures: int, why: str) -> None:
        wait_s = retry_wait_s(failures)
        self._log.error(
            "Watch errored: type={kind} error={why} retry={wait_s:g}s",
            kind=self._watch.kind, why=why, wait_s=wait_s,
        )  # fmt: skip
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(wait_s, waiting.callback, None)
        await waiting
