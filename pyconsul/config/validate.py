"""Filling in what depends on other settings, and refusing what does not go together.

The texts and their order are those of Consul 1.8.7, as far as they were seen.
"""

from __future__ import annotations

import binascii
import ipaddress
import os
import re

from msgspec.structs import replace

from pyconsul.config.host import Host
from pyconsul.config.kinds import IPS, is_ip
from pyconsul.config.later import check_later
from pyconsul.config.places import Mistake
from pyconsul.config.schema import AgentConfig
from pyconsul.config.tls import check_tls, tls_warnings
from pyconsul.config.tree import errors_text
from pyconsul.structs.metadata import metadata_fault

PROTOCOL, RAFT_PROTOCOL = 2, 3
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "ERROR")
_DATACENTER = re.compile(r"[a-z0-9_-]+")
_DNS_LABEL = re.compile(r"[A-Za-z0-9-]+")
_ANY = ("0.0.0.0", "::")
_PATH = re.compile(r"[A-Za-z0-9_/-]+")

FILES_SPARE = 20
"""Files that an agent needs besides connections."""

RECONNECT_S = 72 * 3600.0
RECONNECT_MIN_S = 8 * 3600.0


# ---------------------------------------------------------------- completing


def completed(config: AgentConfig, host: Host, warnings: list[str]) -> AgentConfig:
    """The configuration with every dependent default in place."""
    bind = _bind_address(config, host)
    for key in ("reconnect_timeout", "reconnect_timeout_wan"):
        if getattr(config, key) <= 0:
            config = replace(config, **{key: RECONNECT_S})
        elif getattr(config, key) < RECONNECT_MIN_S:
            warnings.append(f"{key} should be 8h at least: a member that fails for longer is forgotten.")
    config = replace(
        config,
        node_name=config.node_name or host.name,
        protocol=config.protocol if config.protocol > 0 else PROTOCOL,
        raft_protocol=config.raft_protocol or RAFT_PROTOCOL,
        datacenter=config.datacenter.lower(),
        primary_datacenter=(config.primary_datacenter or config.datacenter).lower(),
        domain=_domain(config.domain),
        alt_domain=_domain(config.alt_domain) if config.alt_domain else "",
        bind_addr=bind,
        verify_outgoing=config.verify_outgoing or config.verify_server_hostname,
        serf_lan=config.serf_lan or bind,
        serf_wan=config.serf_wan or bind,
        leave_on_terminate=not config.server
        if config.leave_on_terminate is None
        else config.leave_on_terminate,
        skip_leave_on_interrupt=(
            config.server if config.skip_leave_on_interrupt is None else config.skip_leave_on_interrupt
        ),
        ui_content_path="/" + "/".join(filter(None, config.ui_content_path.split("/"))) + "/",
        addresses=replace(
            config.addresses,
            **{
                name: getattr(config.addresses, name) or config.client_addr
                for name in ("dns", "http", "https", "grpc")
            },
        ),
    )
    if config.ui_content_path == "//":
        config = replace(config, ui_content_path="/")
    if config.server and config.bootstrap_expect == 1:
        warnings.append("BootstrapExpect is set to 1; this is the same as Bootstrap mode.")
        config = replace(config, bootstrap=True, bootstrap_expect=0)
    advertised = config.advertise_addr or _advertised(bind, host, warnings)
    return replace(
        config,
        advertise_addr=advertised,
        advertise_addr_wan=config.advertise_addr_wan or advertised,
    )


def _domain(text: str) -> str:
    return text.strip(".").lower() + "."


def _bind_address(config: AgentConfig, host: Host) -> str:
    addresses = host.expanded(config.bind_addr, "bind_addr").split()
    if len(addresses) > 1:
        raise Mistake(
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead.",
            "bind_addr",
        )
    if not addresses:
        raise Mistake("bind_addr cannot be empty", "bind_addr")
    if addresses[0] == "[::]":
        return "::"
    if not is_ip(addresses[0]):
        raise Mistake(errors_text([f"bind_addr: invalid ip address: {addresses[0]}"]), "bind_addr")
    return addresses[0]


def _advertised(bind: str, host: Host, warnings: list[str]) -> str:
    """What to tell others: the bind address, or the one private address where that is a wildcard."""
    if bind not in _ANY:
        return bind
    if bind == "::":
        return _only_public_ipv6(host)
    private = host.private()
    if len(private) > 1:
        raise Mistake(
            "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'.",
            "bind_addr",
        )
    if private:
        return private[0]
    found = host.public() or ["127.0.0.1"]
    warnings.append(f"No private IPv4 address found, advertising {found[0]}. Use 'advertise' to choose one.")
    return found[0]


def _only_public_ipv6(host: Host) -> str:
    public = host.public(6)
    if len(public) == 1:
        return public[0]
    if public:
        raise Mistake(
            "Multiple public IPv6 addresses found. Please configure one with 'bind' and/or 'advertise'.",
            "bind_addr",
        )
    raise Mistake("No public IPv6 address found. Please configure one with 'advertise'.", "bind_addr")


# ---------------------------------------------------------------- checking


def validate(config: AgentConfig, warnings: list[str], files_max: int = 0) -> None:
    """Refuse what cannot work; raises ``Mistake`` with the first problem.

    :param files_max: how many files a process may have open; 0: not known.
    """
    _check_identity(config, warnings)
    _check_addresses(config)
    _check_ports(config)
    _check_bootstrap(config, warnings)
    _check_numbers(config)
    _check_limits(config, files_max)
    _check_start(config)
    check_tls(config)
    warnings += tls_warnings(config)
    check_later(config)
    if config.segment or config.segments:
        raise Mistake("Network segments are not supported in this version of Consul", "segment", "segments")


def _check_start(config: AgentConfig) -> None:
    """What Consul's ``validate`` takes and its agent then refuses."""
    if config.log_level.upper() not in LOG_LEVELS:
        known = " ".join(LOG_LEVELS)
        raise Mistake(f"Invalid log level: {config.log_level}. Valid log levels are: [{known}]", "log_level")
    if config.encrypt and (problem := gossip_key_problem(config.encrypt)):
        raise Mistake(f"encrypt has invalid key: {problem}", "encrypt")
    if not 2 <= config.protocol <= 3:
        raise Mistake(
            f"Protocol version '{config.protocol}' too {'low' if config.protocol < 2 else 'high'}. "
            "Must be in range: [2, 3]",
            "protocol",
        )
    if not 1 <= config.raft_protocol <= RAFT_PROTOCOL:
        raise Mistake(
            f"Failed to start Raft: Protocol version {config.raft_protocol} "
            f"must be >= 1 and <= {RAFT_PROTOCOL}",
            "raft_protocol",
        )
    for address in config.recursors:
        port = address.rpartition(":")[2] if address.count(":") == 1 or "]:" in address else "53"
        if not (port.isdecimal() and 0 < int(port) < 65536):
            raise Mistake(f"Invalid recursor address: {address}: unknown port {port}", "recursors")


def _check_identity(config: AgentConfig, warnings: list[str]) -> None:
    if not _DATACENTER.fullmatch(config.datacenter):
        raise Mistake(
            f'datacenter cannot be "{config.datacenter}". Please use only [a-z0-9-_]'
            if config.datacenter
            else "datacenter cannot be empty",
            "datacenter",
        )
    if not config.data_dir and not config.dev:
        raise Mistake("data_dir cannot be empty", "data_dir")
    if config.data_dir and os.path.exists(config.data_dir) and not os.path.isdir(config.data_dir):
        raise Mistake(f'data_dir "{config.data_dir}" is not a directory', "data_dir")
    if config.dev and not config.server and not config.data_dir:
        raise Mistake("data_dir cannot be empty", "data_dir")
    if not _DNS_LABEL.fullmatch(config.node_name):
        warnings.append(
            f'Node name "{config.node_name}" will not be discoverable via DNS due to invalid characters. '
            "Valid characters include all alpha-numerics and dashes."
        )
    elif len(config.node_name) > 63:
        warnings.append(f'Node name "{config.node_name}" will not be discoverable via DNS: it is too long.')
    if not _DATACENTER.fullmatch(config.primary_datacenter):
        raise Mistake(
            f'primary_datacenter cannot be "{config.primary_datacenter}". Please use only [a-z0-9-_]',
            "primary_datacenter",
        )
    _check_node_meta(config.node_meta)
    if not _PATH.fullmatch(config.ui_content_path):
        raise Mistake(
            f"ui-content-path can only contain alphanumeric, -, _, or /. received: {config.ui_content_path}",
            "ui_content_path",
        )
    if config.ui_dir and config.ui and not config.dev:
        raise Mistake(
            "Both the ui and ui-dir flags were specified, please provide only one.\n"
            "If trying to use your own web UI resources, use the ui-dir flag.\n"
            "The web UI is included in the binary so use ui to enable it",
            "ui",
            "ui_dir",
        )
    if config.primary_gateways and config.primary_datacenter == config.datacenter:
        raise Mistake(
            "'primary_gateways' should only be configured in a secondary datacenter", "primary_gateways"
        )


def _check_node_meta(meta: dict[str, str]) -> None:
    if fault := metadata_fault(meta):
        raise Mistake(f"node_meta invalid: {fault}", "node_meta")


def _check_addresses(config: AgentConfig) -> None:
    if config.advertise_addr in _ANY:
        raise Mistake("Advertise address cannot be 0.0.0.0, :: or [::]", "advertise_addr")
    if config.advertise_addr_wan in _ANY:
        raise Mistake("Advertise WAN address cannot be 0.0.0.0, :: or [::]", "advertise_addr_wan")
    if any(address.startswith("unix://") for address in config.addresses.dns):
        raise Mistake("DNS address cannot be a unix socket", "addresses.dns")
    for key in ("advertise_addr_ipv4", "advertise_addr_wan_ipv4"):
        value = getattr(config, key)
        if value and ipaddress.ip_address(value).version != 4:
            raise Mistake(f"{key} must be an ipv4 address", key)
    if config.advertise_addr_ipv6 and ipaddress.ip_address(config.advertise_addr_ipv6).version != 6:
        raise Mistake("advertise_addr_ipv6 must be an ipv6 address", "advertise_addr_ipv6")
    if any(address in (*_ANY, "[::]") for address in config.recursors):
        raise Mistake("DNS recursor address cannot be 0.0.0.0, :: or [::]", "recursors")
    IPS.convert(" ".join(config.client_addr), "client_addr")


def _check_ports(config: AgentConfig) -> None:
    ports, addresses = config.ports, config.addresses
    listeners = [
        ("DNS", addresses.dns, ports.dns, "ports.dns"),
        ("HTTP", addresses.http, ports.http, "ports.http"),
        ("HTTPS", addresses.https, ports.https, "ports.https"),
        ("RPC Advertise", (config.advertise_addr,), ports.server, "ports.server"),
        ("Serf Advertise LAN", (config.advertise_addr,), ports.serf_lan, "ports.serf_lan"),
        ("Serf Advertise WAN", (config.advertise_addr_wan,), ports.serf_wan, "ports.serf_wan"),
    ]
    taken: dict[str, tuple[str, str]] = {}
    for name, hosts, port, key in listeners:
        for host in hosts if port >= 0 else ():
            place = host.removeprefix("unix://") if host.startswith("unix://") else f"{host}:{port}"
            if place in taken:
                other, other_key = taken[place]
                raise Mistake(f"{name} address {place} already configured for {other}", key, other_key)
            taken[place] = name, key
    for kind in ("sidecar", "expose"):
        low, high = f"{kind}_min_port", f"{kind}_max_port"
        if getattr(ports, low) > getattr(ports, high):
            raise Mistake(
                f"{low} must be less than {high}. To disable, set both to zero.",
                f"ports.{low}",
                f"ports.{high}",
            )


def _check_bootstrap(config: AgentConfig, warnings: list[str]) -> None:
    expect = config.bootstrap_expect
    if expect < 0:
        raise Mistake(
            f"bootstrap_expect cannot be {expect}. Must be greater than or equal to zero",
            "bootstrap_expect",
        )
    if config.bootstrap and not config.server or expect == 1 and not config.server:
        raise Mistake("'bootstrap = true' requires 'server = true'", "bootstrap", "bootstrap_expect")
    if expect and not config.server:
        raise Mistake("'bootstrap_expect > 0' requires 'server = true'", "bootstrap_expect")
    if expect and config.dev:
        raise Mistake("'bootstrap_expect > 0' not allowed in dev mode", "bootstrap_expect")
    if expect and config.bootstrap:
        raise Mistake(
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
            "bootstrap_expect",
            "bootstrap",
        )
    if expect == 2:
        warnings.append("bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance.")
    elif expect and expect % 2 == 0:
        warnings.append(
            "bootstrap_expect is even number: "
            "A cluster with an even number of servers does not achieve optimum fault tolerance."
        )
    if expect:
        warnings.append(f"bootstrap_expect > 0: expecting {expect} servers")
    elif config.bootstrap:
        warnings.append("bootstrap = true: do not enable unless necessary")


def _check_numbers(config: AgentConfig) -> None:
    factor = config.performance.raft_multiplier
    if not 1 <= factor <= 10:
        raise Mistake(
            f"performance.raft_multiplier cannot be {factor}. Must be between 1 and 10",
            "performance.raft_multiplier",
        )
    for key in ("udp_answer_limit", "a_record_limit"):
        limit = getattr(config.dns_config, key)
        if limit < 0:
            raise Mistake(
                f"dns_config.{key} cannot be {limit}. Must be greater than or equal to zero",
                f"dns_config.{key}",
            )
    if config.check_output_max_size < 1:
        raise Mistake("check_output_max_size must be positive", "check_output_max_size")
    if config.autopilot.max_trailing_logs < 0:
        raise Mistake(
            f"autopilot.max_trailing_logs cannot be {config.autopilot.max_trailing_logs}. "
            "Must be greater than or equal to zero",
            "autopilot.max_trailing_logs",
        )
    for key in ("entry_fetch_rate", "entry_fetch_max_burst"):
        if getattr(config.cache, key) <= 0:
            raise Mistake(
                f"cache.{key} must be strictly positive, was: {getattr(config.cache, key):g}", f"cache.{key}"
            )


def _check_limits(config: AgentConfig, files_max: int) -> None:
    needed = config.limits.http_max_conns_per_client + FILES_SPARE
    if files_max and needed > files_max:
        key = "limits.http_max_conns_per_client"
        raise Mistake(
            f"system allows a max of {files_max} file descriptors, "
            f"but {key}: {needed - FILES_SPARE} needs at least {needed}",
            key,
        )


def gossip_key_problem(text: str) -> str:
    """What is wrong with a gossip key, which is 16, 24 or 32 bytes in base64; empty: nothing."""
    try:
        size = len(binascii.a2b_base64(text, strict_mode=True))
    except (binascii.Error, ValueError):
        good = len(re.match(r"[A-Za-z0-9+/]*", text)[0]) // 4 * 4  # type: ignore[index]
        return f"illegal base64 data at input byte {good}"
    return "" if size in (16, 24, 32) else "key size must be 16, 24 or 32 bytes"
