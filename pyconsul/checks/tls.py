"""TLS for checks: whom to believe, and who this agent is."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from pyconsul.late_tls import provide as provide_tls
from pyconsul.net.tls_files import NO_CREDENTIALS, Credentials

NAMES_MAX = 128


def _none() -> Credentials:
    return NO_CREDENTIALS


class CheckTls:
    """Makes TLS connections for checks; those to the same name share their settings.

    A context with the system's certificates takes time and memory, so ``NAMES_MAX`` are kept.

    :param credentials: the agent's as they are now, if checks are to use them
        (``enable_agent_tls_for_checks``): what to believe instead of the system's, and what to show.
    """

    def __init__(self, credentials: Callable[[], Credentials] = _none) -> None:
        self._credentials = credentials
        self._used = credentials()
        self._kept: OrderedDict[tuple[str, bool, tuple[bytes, ...]], Any] = OrderedDict()

    def creator(self, name: str, *, verify: bool = True, protocols: tuple[bytes, ...] = ()) -> Any:
        """Makes connections to ``name``, which the certificate has to be for.

        :param verify: take no certificate but a good one.
        :param protocols: what to offer by ALPN.
        """
        provide_tls()
        credentials = self._credentials()
        if credentials is not self._used:
            self._used = credentials
            self._kept.clear()
        key = (name, verify, protocols)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._make(name, verify, protocols)
            if len(self._kept) > NAMES_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found

    def _make(self, name: str, verify: bool, protocols: tuple[bytes, ...]) -> Any:
        from OpenSSL.crypto import X509, PKey
        from twisted.internet.ssl import (
            Certificate,
            CertificateOptions,
            KeyPair,
            PrivateCertificate,
            optionsForClientTLS,
            trustRootFromCertificates,
        )

        used = self._used
        own = None
        if used.chain:
            key = KeyPair(PKey.from_cryptography_key(used.key))
            own = PrivateCertificate.fromCertificateAndKeyPair(
                Certificate(X509.from_cryptography(used.chain[0])), key
            )
        if not verify:
            options = CertificateOptions(
                verify=False,
                privateKey=own.privateKey.original if own is not None else None,
                certificate=own.original if own is not None else None,
                acceptableProtocols=list(protocols) or None,
            )
            return _Unverified(name, options.getContext())
        believed = [Certificate(X509.from_cryptography(authority)) for authority in used.authorities]
        return optionsForClientTLS(
            name,
            trustRoot=trustRootFromCertificates(believed) if believed else None,
            clientCertificate=own,
            acceptableProtocols=list(protocols) or None,
        )


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
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
