"""``pyconsul agent``: from flags to a configuration, and on to ``pyconsul.agent.maker.run``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from pyconsul import late, late_tls
from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean, repeated
from pyconsul.config.kinds import BOOL, STRING_MAP
from pyconsul.config.legacy import OLD_FLAGS, atlas_warning, cloud_warning
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared
from pyconsul.config.sources import Sources, load
from pyconsul.errors import ConfigurationError
from pyconsul.stand_ins import stand_ins

ATLAS_FLAGS = ("atlas", "atlas-token", "atlas-endpoint")


def agent_flags() -> list[Flag]:
    """The flags of an agent: one for each setting that declares one, and those about files."""
    flags = [
        repeated("config-file", "File to read settings from, .json or .hcl. May be repeated."),
        Flag(
            "config-dir",
            "Folder of such files, read in the order of their names. May be repeated.",
            default=(),
            many=True,
            into="config-file",
        ),
        Flag("config-format", "Read all files as hcl or as json, whatever their suffix.", shown="string"),
        repeated("hcl", "A piece of HCL, which counts for more than all files and flags. May be repeated."),
        boolean("dev", "Development mode: a server in memory that needs no other."),
        *(Flag(name, "Accepted without effect: Atlas is gone. Use -retry-join.") for name in ATLAS_FLAGS),
        boolean("atlas-join", "Accepted without effect: Atlas is gone. Use -retry-join."),
    ]
    flags += [Flag(name, "Accepted without effect. Use -retry-join.") for name in OLD_FLAGS]
    flags.append(Flag("dc", "Same as -datacenter, as Consul 0.7 has it.", into="datacenter"))
    for item in declared(AgentConfig()):
        kind, setting = item.setting.kind, item.setting
        if not setting.flag:
            continue
        if kind is BOOL:
            flags.append(boolean(setting.flag, setting.doc))
        elif kind is STRING_MAP:
            flags.append(Flag(setting.flag, setting.doc, read=kind.flag, many=True, shown="key:value"))
        else:
            flags.append(Flag(setting.flag, setting.doc, read=kind.flag, many=kind.many))
    return flags


def sources_from(given: dict[str, Any]) -> tuple[Sources, list[str]]:
    """What the flags that were given ask for, and what to warn about.

    :param given: values by flag name; files and folders in ``config-file``.
    """
    values: dict[str, Any] = {}
    for item in declared(AgentConfig()):
        flag = item.setting.flag
        if not flag or flag not in given:
            continue
        value = given[flag]
        if item.setting.kind.many:
            values[item.path] = [text for one in value for text in one]
        elif item.setting.kind is STRING_MAP:
            values[item.path] = {key: text for pair in value for key, text in pair.items()}
        else:
            values[item.path] = value
    warnings = [atlas_warning(f"-{name}") for name in (*ATLAS_FLAGS, "atlas-join") if name in given]
    warnings += [cloud_warning(f"-{name}") for name in OLD_FLAGS if name in given]
    sources = Sources(
        paths=tuple(given.get("config-file", ())),
        flags=values,
        fragments=tuple(given.get("hcl", ())),
        format=given.get("config-format", ""),
        dev=given.get("dev", False),
    )
    return sources, warnings


def configured(given: dict[str, Any]) -> AgentConfig:
    """The configuration that flags ask for; raises ``ConfigurationError``."""
    sources, warnings = sources_from(given)
    config = load(sources)
    return replace(config, warnings=(*warnings, *config.warnings))


def run(invocation: Invocation) -> int:
    """Run an agent until a signal or a leave ends it."""
    if invocation.arguments:
        raise Failed(f"==> Unexpected extra arguments: [{' '.join(invocation.arguments)}]")
    try:
        config = configured(invocation.given)
    except ConfigurationError as error:
        raise Failed(f"==> {error}") from None
    load_role("server" if config.server else "client")
    from pyconsul import log
    from pyconsul.agent import maker

    try:
        sinks = log.start(config)
    except ConfigurationError as error:
        raise Failed(f"==> {error}") from None
    return maker.run(config, sinks)


def load_role(role: str) -> None:
    """Load what a client or a server needs, and no more.

    :param role: the name of a module in ``pyconsul.agent``.
    """
    late_tls.postpone()
    if role == "client":
        for name in late.TABLES:
            late.postpone(name)
    with stand_ins():
        _choose_reactor()
        from pyconsul.agent import maker  # noqa: F401

        import_module(f"pyconsul.agent.{role}")


def _choose_reactor() -> None:
    """Install our reactor where it works and nobody has chosen another."""
    if sys.platform == "linux" and "twisted.internet.reactor" not in sys.modules:
        from pyconsul.net import reactor

        reactor.install()


COMMAND = Command(
    "agent",
    "[options]",
    "Start an agent, which runs until it is interrupted. It represents this machine in a datacenter, as "
    "a client or as a server.\n\n"
    "    $ pyconsul agent -dev\n"
    "    $ pyconsul agent -config-dir=/etc/pyconsul",
    run,
    flags=agent_flags(),
    connects=False,
)
