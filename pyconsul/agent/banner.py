"""What ``pyconsul agent`` prints before its log (specs of the command line, "agent banner")."""

from __future__ import annotations

from pyconsul import __version__
from pyconsul.config.schema import AgentConfig

LABEL_WIDTH = 18


def banner(config: AgentConfig, node_id: str, keys_kept: bool = False) -> str:
    """The lines from "Starting" to where the log begins.

    :param keys_kept: gossip is encrypted even without a key in the configuration.
    """
    ports = config.ports
    secure = config.verify_outgoing, config.verify_incoming, config.auto_encrypt.tls
    segment = "<all>" if config.server else ""
    bootstrap = config.bootstrap or config.bootstrap_expect == 1
    rows = [
        ("Version", f"'{__version__}'"),
        ("Node ID", f"'{node_id}'"),
        ("Node name", f"'{config.node_name}'"),
        ("Datacenter", f"'{config.datacenter}' (Segment: '{segment}')"),
        ("Server", f"{_go(config.server)} (Bootstrap: {_go(bootstrap)})"),
        (
            "Client Addr",
            f"[{' '.join(config.client_addr)}] (HTTP: {ports.http}, HTTPS: {ports.https}, "
            f"gRPC: {ports.grpc}, DNS: {ports.dns})",
        ),
        ("Cluster Addr", f"{config.advertise_addr} (LAN: {ports.serf_lan}, WAN: {ports.serf_wan})"),
        (
            "Encrypt",
            f"Gossip: {_go(keys_kept or bool(config.encrypt))}, TLS-Outgoing: {_go(secure[0])}, "
            f"TLS-Incoming: {_go(secure[1])}, Auto-Encrypt-TLS: {_go(secure[2])}",
        ),
    ]
    lines = ["==> Starting Consul agent..."]
    lines += [f"{label:>{LABEL_WIDTH}}: {value}" for label, value in rows]
    return "\n".join([*lines, "", "==> Log data will now stream in as it occurs:", ""])


def _go(value: bool) -> str:
    return "true" if value else "false"
