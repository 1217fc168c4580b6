"""``twistd pyconsul``: the flags of ``pyconsul agent`` as Twisted's plugins give them.

``twistd pyconsul --server --bootstrap-expect 3 --data-dir /var/lib/pyconsul``
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from pyconsul.cli.agent import COMMAND, configured
from pyconsul.cli.flags import HelpWanted, UsageError, parse
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError


class Options(usage.Options):
    """The flags of an agent; takes them in exactly the forms that ``pyconsul agent`` takes.

    :ivar config: what they ask for, once they were parsed.
    """

    config: AgentConfig

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and check; raises ``usage.UsageError``."""
        try:
            given, rest = parse(COMMAND.flags, list(sys.argv[1:] if options is None else options))
        except HelpWanted:
            self.opt_help()
        except UsageError as error:
            raise usage.UsageError(str(error)) from None
        if rest:
            raise usage.UsageError(f"Unexpected extra arguments: [{' '.join(rest)}]")
        try:
            self.config = configured(given)
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        self.update(given)

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return "Usage: twistd [options] pyconsul [options]"

    def getUsage(self, width: int | None = None) -> str:
        """The help of ``pyconsul agent`` without its first line."""
        return COMMAND.help().partition("\n")[2]


def makeService(options: Options) -> IService:
    """The agent, for twistd to run."""
    from twisted.internet import reactor

    from pyconsul.agent.maker import make_agent

    service: Any = make_agent(options.config, reactor)
    return service  # type: ignore[no-any-return]
