"""Who this node is: its id, and the address it tells others."""

from __future__ import annotations

import ipaddress
import os
import socket
import uuid
from random import Random

from pyconsul.errors import ConfigurationError

NODE_ID_FILE = "node-id"


def node_id(configured: str, data_dir: str, rng: Random) -> str:
    """The node's UUID: as configured, as kept in the data folder, or a new one that is then kept."""
    path = os.path.join(data_dir, NODE_ID_FILE) if data_dir else ""
    if configured:
        chosen = _checked(configured, "node_id")
    elif path and os.path.exists(path):
        with open(path, encoding="ascii", errors="replace") as file:
            return _checked(file.read().strip(), path)
    else:
        chosen = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    if path:
        os.makedirs(data_dir, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(chosen)
            file.flush()
            os.fsync(file.fileno())
    return chosen


def _checked(text: str, where: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ConfigurationError(f"{where}: {text!r} is not a UUID") from None


def advertised_address(advertise: str, bind: str) -> str:
    """The address that others reach this agent at."""
    for name, value in (("advertise_addr", advertise), ("bind_addr", bind)):
        if value:
            try:
                address = ipaddress.ip_address(value)
            except ValueError:
                raise ConfigurationError(f"{name}: {value!r} is not an IP address") from None
            if not address.is_unspecified:
                return str(address)
            if name == "advertise_addr":
                raise ConfigurationError("Advertise address cannot be 0.0.0.0, :: or [::]")
    return _private_address()


def _private_address() -> str:
    """The machine's only private IPv4 address, as seen from the route to elsewhere.

    Connecting a UDP socket sends nothing; it makes the kernel choose the source address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            raise ConfigurationError(
                "No private IPv4 address found. Please configure one with 'bind' and/or 'advertise'."
            ) from None
