"""TLS for checks: whom to believe, and who this agent is."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from pyconsul.late_tls import provide as provide_tls

NAMES_MAX = 128


class TlsFiles(Struct, frozen=True, kw_only=True):
    """PEM files of the agent that checks are to use (``enable_agent_tls_for_checks``).

    :ivar ca_file: certificates to believe instead of the system's.
    :ivar ca_path: a folder of such files.
    :ivar cert_file: shown to servers that ask; ``key_file`` is its private key.
    """

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""


class CheckTls:
    """Makes TLS connections for checks; those to the same name share their settings.

    A context with the system's certificates takes time and memory, so ``NAMES_MAX`` are kept.
    """

    def __init__(self, files: TlsFiles | None = None) -> None:
        self._files = files or TlsFiles()
        self._kept: OrderedDict[tuple[str, bool, tuple[bytes, ...]], Any] = OrderedDict()

    def creator(self, name: str, *, verify: bool = True, protocols: tuple[bytes, ...] = ()) -> Any:
        """Makes connections to ``name``, which the certificate has to be for.

        :param verify: take no certificate but a good one.
        :param protocols: what to offer by ALPN.
        :raises OSError: if a file of the agent's cannot be read.
        """
        provide_tls()
        key = (name, verify, protocols)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._make(name, verify, protocols)
            if len(self._kept) > NAMES_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found

    def _make(self, name: str, verify: bool, protocols: tuple[bytes, ...]) -> Any:
        from twisted.internet.ssl import (
            CertificateOptions,
            PrivateCertificate,
            optionsForClientTLS,
            trustRootFromCertificates,
        )

        own = None
        if self._files.cert_file:
            pair = Path(self._files.cert_file).read_bytes() + Path(self._files.key_file).read_bytes()
            own = PrivateCertificate.loadPEM(pair)
        if not verify:
            options = CertificateOptions(
                verify=False,
                privateKey=own.privateKey.original if own is not None else None,
                certificate=own.original if own is not None else None,
                acceptableProtocols=list(protocols) or None,
            )
            return _Unverified(name, options.getContext())
        believed = self._believed()
        return optionsForClientTLS(
            name,
            trustRoot=trustRootFromCertificates(believed) if believed else None,
            clientCertificate=own,
            acceptableProtocols=list(protocols) or None,
        )

    def _believed(self) -> list[Any]:
        from twisted.internet.ssl import Certificate

        paths = [Path(self._files.ca_file)] if self._files.ca_file else []
        if self._files.ca_path:
            paths += sorted(path for path in Path(self._files.ca_path).iterdir() if path.is_file())
        return [Certificate.loadPEM(pem) for path in paths for pem in _certificates(path.read_bytes())]


def _certificates(text: bytes) -> list[bytes]:
    """Each certificate of a PEM file that may hold several."""
    end = b"-----END CERTIFICATE-----"
    return [piece + end for piece in text.split(end)[:-1]]


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Takes any certificate, which is what ``tls_skip_verify`` asks for; the name is told all the same."""

    def __init__(self, name: str, context: Any) -> None:
        self._name = name
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """One connection."""
        from OpenSSL import SSL

        connection = SSL.Connection(self._context, None)
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
