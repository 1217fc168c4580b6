"""IP addresses, as 4 or 16 bytes on the wire and as text in Python."""

from __future__ import annotations

import ipaddress

from pyconsul.swim.wire import DecodeError

_MAPPED = b"\x00" * 10 + b"\xff\xff"


def host_of(packed: bytes) -> str:
    """The text form of an address of 4 or 16 bytes; IPv4 mapped into IPv6 counts as IPv4.

    :raises DecodeError: for any other length.
    """
    if len(packed) == 16 and packed[:12] == _MAPPED:
        packed = packed[12:]
    if len(packed) == 4:
        return ".".join(map(str, packed))
    if len(packed) == 16:
        return str(ipaddress.IPv6Address(packed))
    raise DecodeError(f"an address of {len(packed)} bytes")


def packed_of(host: str) -> bytes:
    """The bytes of an address in text form.

    :raises ValueError: if ``host`` is not an IP address.
    """
    if host.count(".") == 3:
        try:
            packed = bytes(map(int, host.split(".")))
        except ValueError:
            pass
        else:
            if host_of(packed) == host:  # in the only form that IPv4 has
                return packed
    return ipaddress.ip_address(host.partition("%")[0]).packed


def is_literal(host: str) -> bool:
    """Whether ``host`` is an IP address and needs no resolver."""
    try:
        packed_of(host)
    except ValueError:
        return False
    return True


def is_unspecified(host: str) -> bool:
    """Whether ``host`` means every address of the machine (``0.0.0.0`` or ``::``)."""
    return not any(packed_of(host))


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
