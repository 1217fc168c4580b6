"""Who this node is: its id, and the address it tells others."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import uuid
from itertools import pairwise
from random import Random

from pyconsul.errors import ConfigurationError

NODE_ID_FILE = "node-id"
FIRMWARE_ID = "sys/class/dmi/id/product_uuid"
MACHINE_ID = "etc/machine-id"
BOOT_ID = "proc/sys/kernel/random/boot_id"
HYPHENS = (8, 13, 18, 23)
_NO_DIGIT = re.compile("[^0-9a-fA-F]")


def node_id(configured: str, data_dir: str, rng: Random, machine_id: str = "") -> str:
    """The node's UUID: as configured, as kept in the data folder, or a new one that is then kept.

    :param machine_id: makes the new one, if there is any: the same whenever this machine is set up anew.
    :raises ConfigurationError: with Consul's texts.
    """
    if configured:
        return _checked(configured, "specified NodeID")
    path = os.path.join(data_dir, NODE_ID_FILE) if data_dir else ""
    if path and os.path.exists(path):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return _checked(file.read().strip(), f"NodeID in {path}")
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(f"failed to setup node ID: read {path}: {why}") from None
    made = _spread(machine_id) if machine_id else str(uuid.UUID(int=rng.getrandbits(128), version=4))
    if path:
        os.makedirs(data_dir, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
    return made


def machine_id(root: str = "/") -> str:
    """What identifies this machine: its firmware's UUID, which only root may read, or the id that the
    system has given it; empty if there is neither.
    """
    firmware = _first_line(os.path.join(root, FIRMWARE_ID))
    if firmware:
        return firmware.lower()
    given = _first_line(os.path.join(root, MACHINE_ID)).lower()
    if len(given) == 32:
        return "-".join((given[:8], given[8:12], given[12:16], given[16:20], given[20:]))
    return _first_line(os.path.join(root, BOOT_ID)).lower()


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def _spread(text: str) -> str:
    """A UUID in which ids that resemble each other do not."""
    from hashlib import sha512  # brings OpenSSL's library, and few ask for this

    return str(uuid.UUID(bytes=sha512(text.encode()).digest()[:16]))


def _checked(text: str, where: str) -> str:
    """``text`` in small letters, as Go's ``uuid.ParseUUID`` has it."""
    why = ""
    if len(text) != 36:
        why = "uuid string is wrong length"
    elif [text[at] for at in HYPHENS] != ["-"] * len(HYPHENS):
        why = "uuid is improperly formatted"
    elif odd := _NO_DIGIT.search("".join(text[a + 1 : b] for a, b in pairwise((-1, *HYPHENS, 36)))):
        why = f"encoding/hex: invalid byte: U+{ord(odd[0]):04X} '{odd[0]}'"
    if why:
        raise ConfigurationError(f"failed to setup node ID: {where} is invalid: {why}")
    return text.lower()


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
