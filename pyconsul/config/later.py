"""What goes together among settings of certificates and the mesh, which have no effect yet.

A configuration with these must load, and one that Consul refuses must not. The rules are those of the
reference validator; config entries are looked at no further than their kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyconsul.config.places import Mistake
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared

CA_PROVIDERS = ("", "consul", "vault", "aws-pca")
ENTRY_KINDS = frozenset((
    "service-defaults", "proxy-defaults", "service-router", "service-splitter", "service-resolver",
    "ingress-gateway", "terminating-gateway",
))  # fmt: skip
AUTO_CONFIG = frozenset((
    "enabled", "intro_token", "intro_token_file", "server_addresses", "dns_sans", "ip_sans", "authorization",
))  # fmt: skip


def check_later(config: AgentConfig) -> None:
    """Refuse what does not go together; raises ``Mistake`` with the first problem."""
    if config.auto_encrypt.allow_tls and not config.server:
        raise Mistake("auto_encrypt.allow_tls can only be used on a server.", "auto_encrypt.allow_tls")
    if config.auto_encrypt.tls and config.server:
        raise Mistake("auto_encrypt.tls can only be used on a client.", "auto_encrypt.tls")
    _check_auto_config(config)
    _check_connect(config)
    for number, entry in enumerate(config.config_entries.bootstrap):
        kind = next((value for key, value in entry.items() if key.lower() == "kind"), None)
        if kind not in ENTRY_KINDS:
            why = f"invalid config entry kind: {kind}" if kind else "it has no kind"
            raise Mistake(f"config_entries.bootstrap[{number}]: {why}", "config_entries.bootstrap")


def _check_auto_config(config: AgentConfig) -> None:
    given = config.auto_config
    for key in given:
        if key.lower() not in AUTO_CONFIG:
            raise Mistake(f"invalid config key auto_config.{key}", "auto_config")
    if _enabled(given) and not config.verify_outgoing:
        raise Mistake(
            "auto_config.enabled cannot be set without configuring TLS for server communications",
            "auto_config",
        )
    if _enabled(given.get("authorization")) and not config.cert_file:
        raise Mistake(
            "auto_config.authorization.enabled cannot be set without providing a TLS certificate "
            "for the server",
            "auto_config",
        )


def _enabled(block: Any) -> bool:
    """Whether a block says so; HCL gives it as a list of one."""
    if isinstance(block, list) and len(block) == 1:
        block = block[0]
    return isinstance(block, dict) and block.get("enabled") is True


def _check_connect(config: AgentConfig) -> None:
    connect = config.connect
    if connect.ca_provider not in CA_PROVIDERS:
        raise Mistake(f"{connect.ca_provider} is not a valid CA provider", "connect.ca_provider")
    if connect.ca_provider == "vault" and not {"token", "Token"} & set(connect.ca_config):
        raise Mistake("must provide a Vault token", "connect.ca_provider", "connect.ca_config")
    if connect.enable_mesh_gateway_wan_federation:
        key = "connect.enable_mesh_gateway_wan_federation"
        if not connect.enabled:
            raise Mistake(f"'{key}=true' requires 'connect.enabled=true'", key)
        if not config.server:
            raise Mistake(f"'{key} = true' requires 'server = true'", key, "server")
        if "/" in config.node_name:
            raise Mistake(f"'{key} = true' requires that 'node_name' not contain '/' characters", key)


def without_effect(config: AgentConfig, given: Iterable[str]) -> list[str]:
    """A warning about those of the ``given`` settings that do nothing yet, though not as by default."""
    defaults = {item.path: item.default for item in declared(AgentConfig())}
    wanted = set(given)
    idle = [
        item.path
        for item in declared(config)
        if item.setting.idle and item.path in wanted and item.default != defaults[item.path]
    ]
    return [f"Accepted, but without effect yet: {', '.join(sorted(idle))}"] if idle else []
