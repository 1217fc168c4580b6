"""Ports that nobody uses, for agents of tests."""

from __future__ import annotations

import socket
from typing import Any

HOST = "127.0.0.1"
GROUP = ("server", "serf_lan", "serf_wan", "http", "dns")
"""All that an agent listens on by default; gossip and DNS take TCP and UDP."""


def free_ports(host: str = HOST, names: tuple[str, ...] = GROUP) -> dict[str, int]:
    """A free port for each name, free for TCP and UDP at this moment.

    Another program may take one before the agent does; that is rare, and the agent then says so.
    """
    held: list[socket.socket] = []
    ports: dict[str, int] = {}
    try:
        while len(ports) < len(names):
            stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(stream)
            stream.bind((host, 0))
            number = stream.getsockname()[1]
            packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(packets)
            try:
                packets.bind((host, number))
            except OSError:
                continue
            ports[names[len(ports)]] = number
    finally:
        for one in held:
            one.close()
    return ports


def local_settings(name: str, **settings: Any) -> dict[str, Any]:
    """Settings of an agent of its own on the loopback interface; ``settings`` come over them."""
    ports = {**free_ports(), "grpc": -1, **settings.pop("ports", {})}
    return {"node_name": name, "bind_addr": HOST, "client_addr": HOST, "ports": ports, **settings}
