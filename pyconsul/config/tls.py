"""What goes together among the settings of TLS. The rules and texts are those of Consul 1.8.7.

Certificates themselves are looked at when an agent starts, not here: a configuration may well be checked
on another machine than the one that has them.
"""

from __future__ import annotations

from pyconsul.config.places import Mistake
from pyconsul.config.schema import AgentConfig
from pyconsul.config.tree import errors_text

TLS_VERSIONS = ("tls10", "tls11", "tls12", "tls13")

_CIPHERS = {
    "128_CBC_SHA": "AES128-SHA",
    "128_CBC_SHA256": "AES128-SHA256",
    "128_GCM_SHA256": "AES128-GCM-SHA256",
    "256_CBC_SHA": "AES256-SHA",
    "256_GCM_SHA384": "AES256-GCM-SHA384",
}
CIPHER_SUITES = {
    f"TLS_ECDHE_{key}_WITH_AES_{name}": f"ECDHE-{key}-{ours}"
    for key in ("RSA", "ECDSA")
    for name, ours in _CIPHERS.items()
}
"""The suites that may be chosen, and what OpenSSL calls them. Those of TLS 1.3 cannot be chosen."""


def check_tls(config: AgentConfig) -> None:
    """Refuse what does not go together; raises ``Mistake`` with the first problem."""
    if config.tls_min_version not in ("", *TLS_VERSIONS):
        raise Mistake(
            f"TLSMinVersion: value {config.tls_min_version} not supported, "
            f"please specify one of [{', '.join(TLS_VERSIONS)}]",
            "tls_min_version",
        )
    for suite in cipher_suites(config):
        if suite not in CIPHER_SUITES:
            problem = f'tls_cipher_suites: invalid tls cipher suites: unsupported cipher "{suite}"'
            raise Mistake(errors_text([problem]), "tls_cipher_suites")
    if config.auto_encrypt.tls or config.auto_config:
        return  # the rest would come from the servers
    trusts = bool(config.ca_file or config.ca_path)
    outgoing = ("verify_outgoing", "verify_server_hostname")
    if any(getattr(config, key) for key in outgoing) and not trusts:
        raise Mistake("VerifyOutgoing set, and no CA certificate provided!", *outgoing)
    incoming = ("verify_incoming", "verify_incoming_rpc", "verify_incoming_https")
    if any(getattr(config, key) for key in incoming):
        if not trusts:
            raise Mistake("VerifyIncoming set but no CA certificates were provided", *incoming)
        if not (config.cert_file and config.key_file):
            raise Mistake(
                "VerifyIncoming requires either a Cert and Key pair in the configuration file, "
                "or auto_encrypt/auto_config be enabled",
                *incoming,
            )


def cipher_suites(config: AgentConfig) -> list[str]:
    """The suites that ``tls_cipher_suites`` names."""
    return [suite.strip() for suite in config.tls_cipher_suites.split(",") if suite.strip()]


def tls_warnings(config: AgentConfig) -> list[str]:
    """What the user should hear about, though the agent may start."""
    found = []
    has_pair = bool(config.cert_file and config.key_file)
    if bool(config.cert_file) != bool(config.key_file):
        found.append("cert_file and key_file only have an effect together.")
    if config.ports.https >= 0 and not has_pair:
        found.append("ports.https is set without cert_file and key_file: nobody can connect to it.")
    return found
