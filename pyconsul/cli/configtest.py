"""``pyconsul configtest``, which later became ``validate``."""

from __future__ import annotations

import os

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, repeated
from pyconsul.cli.validate import check
from pyconsul.config.sources import Sources


def run(invocation: Invocation) -> int:
    """Check the files and folders that the flags name."""
    given = invocation.values
    paths = tuple(given["config-file"])
    if not paths:
        raise Failed("Must specify config using -config-file or -config-dir")
    given["quiet"] = False
    # Folders of services alone are fine, as they were for 0.7: where the data is, flags may say.
    return check(invocation, Sources(paths=paths, flags={"data_dir": os.curdir}))


COMMAND = Command(
    "configtest",
    "[options]",
    "Check configuration files; kept for scripts written for Consul 0.7. Use validate.",
    run,
    flags=[
        repeated("config-file", "File to check. May be repeated."),
        Flag("config-dir", "Folder to check. May be repeated.", default=(), many=True, into="config-file"),
        Flag("rpc-addr", "Accepted without effect."),
    ],
    connects=False,
)
