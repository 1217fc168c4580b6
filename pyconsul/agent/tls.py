"""TLS as the configuration wants it, also when that changes."""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.agent.reloading import Settings
from pyconsul.config.schema import AgentConfig
from pyconsul.config.tls import CIPHER_SUITES, cipher_suites
from pyconsul.errors import ConfigurationError
from pyconsul.interfaces import WallTime
from pyconsul.log import make_logger
from pyconsul.net.tls import Tls, TlsOptions, TlsState
from pyconsul.net.tls_files import NO_CREDENTIALS, TlsFiles, age_warnings

SETTINGS = (
    "ca_file", "ca_path", "cert_file", "key_file", "verify_incoming", "verify_incoming_rpc",
    "verify_incoming_https", "verify_outgoing", "verify_server_hostname", "server_name", "tls_min_version",
    "tls_cipher_suites", "tls_prefer_server_cipher_suites",
)  # fmt: skip


def tls_options(config: AgentConfig) -> TlsOptions:
    """The part of the configuration that TLS needs.

    :raises ConfigurationError: if it wants what there is not: certificates that servers give out.
    """
    for key, wanted in (
        ("auto_encrypt.tls", config.auto_encrypt.tls),
        ("auto_config", bool(config.auto_config.get("enabled"))),
    ):
        if wanted:
            raise ConfigurationError(f"{key} is not there yet: set ca_file, cert_file and key_file instead")
    return TlsOptions(
        files=TlsFiles(
            ca_file=config.ca_file,
            ca_path=config.ca_path,
            cert_file=config.cert_file,
            key_file=config.key_file,
        ),
        verify_incoming_rpc=config.verify_incoming or config.verify_incoming_rpc,
        verify_incoming_https=config.verify_incoming or config.verify_incoming_https,
        verify_outgoing=config.verify_outgoing,
        verify_server_hostname=config.verify_server_hostname,
        min_version=config.tls_min_version,
        ciphers=tuple(CIPHER_SUITES[suite] for suite in cipher_suites(config)),
        prefer_server_ciphers=config.tls_prefer_server_cipher_suites,
        server_name=config.server_name or config.node_name,
        domain=config.domain.rstrip("."),
    )


class TlsSettings:
    """The part of a reload that is about TLS: its settings, and what is in the files that they name.

    :param taken: called once there is something new.
    """

    def __init__(self, tls: Tls, wall_time: WallTime, taken: Callable[[], object]) -> None:
        self._log = make_logger("agent.tls")
        self._tls = tls
        self._wall_time = wall_time
        self._taken = taken
        self._settings = Settings(SETTINGS, lambda new: None)

    def changes(self, old: AgentConfig, new: AgentConfig) -> list[str]:
        """A line for each setting, and one if files say something else.

        :raises ConfigurationError: if the files are no good.
        """
        lines = self._settings.changes(old, new)
        if self._read(new).credentials.texts != self._tls.state.credentials.texts and not lines:
            lines = ["new certificates"]
        return lines

    def apply(self, old: AgentConfig, new: AgentConfig) -> None:
        """New connections have it from now on; those that are open go on as they are."""
        self._tls.take(self._read(new))
        self.warn()
        self._taken()

    def warn(self) -> None:
        """Say which certificates are out of date, or soon will be."""
        credentials = self._tls.state.credentials
        if credentials is NO_CREDENTIALS:
            return
        from datetime import UTC, datetime

        for line in age_warnings(credentials, datetime.fromtimestamp(self._wall_time(), UTC)):
            self._log.warn("{line}", line=line)

    def _read(self, config: AgentConfig) -> TlsState:
        try:
            return self._tls.read(tls_options(config))
        except ConfigurationError as error:
            raise ConfigurationError(f"Failed reloading tls configuration: {error}") from None
