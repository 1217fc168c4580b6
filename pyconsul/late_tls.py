"""Load OpenSSL only when TLS is used.

Twisted imports pyOpenSSL whenever it is installed, and with it cryptography: 12 MiB of memory and
60 ms of every start, for an agent that may never make a TLS connection. Twisted also runs without
it, so ``postpone`` makes it look absent until ``provide`` is called; whoever uses TLS does that
first. An embedding program that has loaded Twisted already simply has TLS, and both do nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module

OPENSSL = "OpenSSL"
ENDPOINT_NAMES = (
    ("twisted.internet.ssl", "Certificate"),
    ("twisted.internet.ssl", "CertificateOptions"),
    ("twisted.internet.ssl", "KeyPair"),
    ("twisted.internet.ssl", "PrivateCertificate"),
    ("twisted.internet.ssl", "optionsForClientTLS"),
    ("twisted.internet.ssl", "trustRootFromCertificates"),
    ("twisted.protocols._sni", "SNIConnectionCreator"),
    ("twisted.protocols._sni", "autoReloadingDirectoryOfPEMs"),
    ("twisted.protocols.tls", "TLSMemoryBIOFactory"),
)
"""What ``twisted.internet.endpoints`` imports where OpenSSL is there."""


def postpone() -> None:
    """Let Twisted load without TLS, unless it has been loaded with it."""
    if OPENSSL not in sys.modules:
        sys.modules[OPENSSL] = None  # type: ignore[assignment]


def provide() -> None:
    """Make TLS work from here on."""
    if sys.modules.get(OPENSSL, sys) is not None:
        return
    del sys.modules[OPENSSL]
    endpoints = sys.modules.get("twisted.internet.endpoints")
    if endpoints is None:
        return
    for module, name in ENDPOINT_NAMES:
        setattr(endpoints, name, getattr(import_module(module), name))
    endpoints.SSLError = import_module("OpenSSL.SSL").Error  # type: ignore[attr-defined]
    endpoints._TLSServerEndpoint = import_module(  # type: ignore[attr-defined]
        "twisted.protocols._sni"
    ).TLSServerEndpoint
