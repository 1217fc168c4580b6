"""Reading the configuration again: each part of the agent takes over what concerns it.

A part is asked first what would change, which must fail if the new settings are no good for it, and
only when all parts agree is anything applied. So a wrong configuration changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pyconsul.agent.registration import Planned, Registrations
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared
from pyconsul.config.sources import Sources, load, taken_over
from pyconsul.errors import ConfigurationError, PyconsulError
from pyconsul.log import make_logger

SECRET = "(secret)"
NEEDS_RESTART = "needs a restart: "


class Part(Protocol):
    """Something that can take new settings while it runs."""

    def changes(self, old: AgentConfig, new: AgentConfig) -> list[str]:
        """What ``apply`` would change, a line each; changes nothing itself.

        :raises PyconsulError: if ``new`` will not do.
        """
        ...

    def apply(self, old: AgentConfig, new: AgentConfig) -> None:
        """Make it so. Not called unless ``changes`` found something."""
        ...


class Settings:
    """A part that only has to be told that some settings have changed.

    :param paths: of these, or of all below them (``dns_config``).
    :param take: called with the new configuration.
    """

    def __init__(self, paths: Iterable[str], take: Callable[[AgentConfig], object]) -> None:
        self._paths = tuple(paths)
        self._take = take

    def changes(self, old: AgentConfig, new: AgentConfig) -> list[str]:
        """A line for each setting."""
        return [line for path, line in different(old, new) if self._concerns(path)]

    def apply(self, old: AgentConfig, new: AgentConfig) -> None:
        """Tell."""
        self._take(new)

    def _concerns(self, path: str) -> bool:
        return any(path == own or path.startswith(own + ".") for own in self._paths)


class Definitions:
    """The services and checks that stand in files."""

    def __init__(self, registrations: Registrations) -> None:
        self._registrations = registrations

    def changes(self, old: AgentConfig, new: AgentConfig) -> list[str]:
        """A line for each service and check that comes, goes or is replaced."""
        return self._registrations.changes(self._plan(new))

    def apply(self, old: AgentConfig, new: AgentConfig) -> None:
        """Let them come and go; what is unchanged keeps running."""
        self._registrations.apply(self._plan(new))

    def _plan(self, config: AgentConfig) -> Planned:
        return self._registrations.plan(config.services, config.checks)


class Reloading:
    """Takes over a new configuration.

    :ivar config: the one in force.
    :ivar parts: who takes it over, in order; add to it before the agent starts.
    :param read: reads what the user gave.
    """

    def __init__(self, config: AgentConfig, read: Callable[[Sources], AgentConfig] = load) -> None:
        self._log = make_logger("agent")
        self.config = config
        self.parts: list[Part] = []
        self._read = read

    def diff(self) -> list[str]:
        """What a reload would change, a line each, and what of the rest only a restart can.

        :raises PyconsulError: if the sources are wrong now.
        """
        new, left_out = self._fresh()
        return [line for part in self.parts for line in part.changes(self.config, new)] + left_out

    def reload(self) -> None:
        """Take over what the sources say now.

        :raises PyconsulError: if they are wrong; nothing has changed then.
        """
        self._log.info("Reloading configuration...")
        old = self.config
        try:
            new, left_out = self._fresh()
            concerned = [part for part in self.parts if part.changes(old, new)]
        except PyconsulError as error:
            self._log.error("Failed reloading: {error}", error=error)
            raise
        for part in concerned:
            part.apply(old, new)
        self.config = new
        for line in (*new.warnings, *left_out):
            self._log.warn("{line}", line=line)
        self._log.info("Configuration reloaded")

    def _fresh(self) -> tuple[AgentConfig, list[str]]:
        """The configuration to take over, and lines about what in the sources cannot be."""
        if self.config.sources is None:
            raise ConfigurationError("this agent's configuration does not come from files or flags")
        found = self._read(self.config.sources)
        new = taken_over(self.config, found)
        return new, [NEEDS_RESTART + line for _, line in different(new, found)]


def different(old: AgentConfig, new: AgentConfig) -> list[tuple[str, str]]:
    """The settings in which two configurations differ: key, and a line for people."""
    values = {item.path: item.default for item in declared(old)}
    found: list[tuple[str, str]] = []
    for item in declared(new):
        before, after = values[item.path], item.default
        if before != after:
            if item.setting.secret:
                before, after = SECRET, SECRET
            found.append((item.path, f"{item.path}: {_short(before)} -> {_short(after)}"))
    return found


def _short(value: Any) -> str:
    text = list(value) if isinstance(value, tuple) else value
    return repr(text)
