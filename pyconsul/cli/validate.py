"""``pyconsul validate``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean
from pyconsul.config.sources import FORMATS, Sources, load
from pyconsul.errors import ConfigurationError


def run(invocation: Invocation) -> int:
    """Read files and folders as an agent would, and say whether it would start with them."""
    given = invocation.values
    if not invocation.arguments:
        raise Failed("Must specify at least one config file or directory")
    if given["config-format"] not in ("", *FORMATS):
        raise Failed("-config-format must be either 'hcl' or 'json'")
    return check(invocation, Sources(paths=tuple(invocation.arguments), format=given["config-format"]))


def check(invocation: Invocation, sources: Sources) -> int:
    """Load ``sources`` and report."""
    try:
        config = load(sources)
    except ConfigurationError as error:
        raise Failed(f"Config validation failed: {error}") from None
    if not invocation.values["quiet"]:
        for warning in config.warnings:
            invocation.terminal.err(warning)
        invocation.terminal.out("Configuration is valid!")
    return 0


COMMAND = Command(
    "validate",
    "[options] FILE_OR_DIRECTORY ...",
    "Check configuration files. Of a folder, all files that end in .json or .hcl are read.",
    run,
    flags=[
        Flag("config-format", "Read all files as hcl or as json, whatever their suffix.", shown="string"),
        boolean("quiet", "Say nothing if all is well."),
    ],
    connects=False,
)
