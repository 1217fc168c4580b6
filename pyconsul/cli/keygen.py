"""``pyconsul keygen``."""

from __future__ import annotations

import binascii
import os

from pyconsul.cli.command import Command, Invocation

KEY_BYTES = 32


def run(invocation: Invocation) -> int:
    """Print a new gossip key."""
    invocation.terminal.out(binascii.b2a_base64(os.urandom(KEY_BYTES), newline=False).decode())
    return 0


COMMAND = Command(
    "keygen", "", "Make a key to encrypt gossip with, for the agents' -encrypt.", run, connects=False
)
