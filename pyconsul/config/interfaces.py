"""The network interfaces of this machine, with all their addresses; known on Linux only."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

Address: TypeAlias = "ipaddress.IPv4Interface | ipaddress.IPv6Interface"

FLAGS = {0x1: "up", 0x2: "broadcast", 0x8: "loopback", 0x10: "point-to-point", 0x1000: "multicast"}
"""Flags of interfaces: ``<net/if.h>``."""

_SIOCGIFFLAGS = 0x8913
_ROUTES = "/proc/net/route"

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h>
_GET_ADDRESSES, _DONE, _ERROR, _NEW_ADDRESS = 22, 3, 2, 20
_REQUEST_DUMP = 0x301
_HEAD = struct.Struct("=IHHII")
_OF_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_ANSWER_BYTES_MAX = 65536
_ANSWERS_MAX = 1000
_TIMEOUT_S = 2.0


class Interface(Struct, frozen=True):
    """One address of an interface, with its network."""

    name: str
    address: Address
    flags: frozenset[str] = frozenset({"up"})

    @property
    def text(self) -> str:
        """The address alone."""
        return str(self.address.ip)


def interface(name: str, address: str, *flags: str) -> Interface:
    """An interface that is up, from texts."""
    return Interface(name, ipaddress.ip_interface(address), frozenset(("up", *flags)))


def interfaces() -> list[Interface]:
    """All of this machine in the order of the system, an interface once for each address."""
    if sys.platform != "linux":
        return []
    names = dict(socket.if_nameindex())
    flags = {number: _flags(name) for number, name in names.items()}
    found = [
        (number, Interface(names[number], address, flags[number]))
        for number, address in _addresses()
        if number in names
    ]
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].address.version))]


def default_interface() -> str:
    """The interface of the default route with the lowest metric; empty if there is none, or not known."""
    try:
        with open(_ROUTES, encoding="ascii") as file:
            routes = [line.split() for line in file.readlines()[1:]]
    except OSError:
        return ""
    found = [(int(route[6]), route[0]) for route in routes if len(route) > 7 and _is_default(route)]
    return min(found)[1] if found else ""


def _is_default(route: list[str]) -> bool:
    return route[1] == route[7] == "00000000"


def _flags(name: str) -> frozenset[str]:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("256s", name.encode()[:15]))
        except OSError:  # it has just gone
            return frozenset()
    bits = struct.unpack_from("=H", answer, 16)[0]
    return frozenset(flag for bit, flag in FLAGS.items() if bits & bit)


def _addresses() -> Iterator[tuple[int, Address]]:
    """The addresses of all interfaces, by their numbers; none if the kernel does not tell."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.settimeout(_TIMEOUT_S)
            request = _OF_ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            kernel.send(_HEAD.pack(_HEAD.size + len(request), _GET_ADDRESSES, _REQUEST_DUMP, 1, 0) + request)
            for _ in range(_ANSWERS_MAX):
                found, more = parsed(kernel.recv(_ANSWER_BYTES_MAX))
                yield from found
                if not more:
                    return
    except OSError:
        return


def parsed(answer: bytes) -> tuple[list[tuple[int, Address]], bool]:
    """The addresses in one answer of the kernel, and whether more follow."""
    found: list[tuple[int, Address]] = []
    at = 0
    while at + _HEAD.size <= len(answer):
        size, kind, *_ = _HEAD.unpack_from(answer, at)
        if kind in (_DONE, _ERROR) or size < _HEAD.size:
            return found, False
        if kind == _NEW_ADDRESS:
            body = answer[at + _HEAD.size : at + size]
            family, bits, _, _, number = _OF_ADDRESS.unpack_from(body)
            facts = _attributes(body[_OF_ADDRESS.size :])
            packed = facts.get(_IFA_LOCAL) or facts.get(_IFA_ADDRESS)
            if packed and family in (socket.AF_INET, socket.AF_INET6):
                found.append((number, ipaddress.ip_interface((packed, bits))))
        at += -(-size // 4) * 4
    return found, True


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + size]
        at += -(-size // 4) * 4
    return found
