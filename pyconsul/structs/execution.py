"""Remote execution: what stands in the key/value store while a command runs on many nodes.

Below ``PREFIX/SESSION/`` there is ``job``, which says what to run, and of each node that runs it
``NODE/ack``, ``NODE/out/00000`` and so on, and ``NODE/exit``. A user event tells the nodes of it. Source:
specs of runtime, section 2; what the reference agent and its command were seen to write.
"""

from __future__ import annotations

EVENT = "_rexec"
"""Name of the event."""

PREFIX = "_rexec"
"""Where in the store jobs are unless the caller says otherwise."""

ACK, EXIT, OUT, JOB = "ack", "exit", "out/", "job"


def root(prefix: str, session: str) -> str:
    """What all keys of a job begin with; slashes of ``prefix`` at its ends or in a row do not count."""
    return "/".join(part for part in (*prefix.split("/"), session) if part) + "/"
