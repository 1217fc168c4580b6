"""Certificates and keys out of PEM files, and what is wrong with them.

The texts are Consul's, as far as it has some, with the name of the file. Importing this loads nothing;
``load_credentials`` loads the libraries if there is something to read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from pyconsul.errors import ConfigurationError
from pyconsul.late_tls import provide as provide_tls

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

WARN_DAYS = 14
"""A certificate that is good for less than this is worth a word."""

NOT_A_PAIR = "Failed to load cert/key pair"
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class TlsFiles(Struct, frozen=True, kw_only=True):
    """Where the PEM files are; empty for none.

    :ivar ca_file: certificates to believe.
    :ivar ca_path: a folder of such files, looked at if there is no ``ca_file``.
    :ivar cert_file: what to show to others, with those above it, if any; ``key_file`` is its private key.
        Only both together have an effect.
    """

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""


class Reader(Protocol):
    """What reads files."""

    def read(self, path: str) -> bytes:
        """All of a file; raises ``OSError``."""
        ...

    def below(self, path: str) -> Sequence[str]:
        """The files in a folder and in those below it, sorted; raises ``OSError`` if it cannot be read."""
        ...


class RealReader:
    """Reads what is on this machine."""

    def read(self, path: str) -> bytes:
        """See ``Reader``."""
        with open(path, "rb") as file:
            return file.read()

    def below(self, path: str) -> Sequence[str]:
        """See ``Reader``; a file counts as a folder that has only itself."""
        if not os.path.isdir(path):
            os.lstat(path)
            return [path]

        def refuse(error: OSError) -> None:
            raise error

        return sorted(
            os.path.join(folder, name) for folder, _, names in os.walk(path, onerror=refuse) for name in names
        )


class Credentials(Struct, frozen=True):
    """Whom to believe, and who this agent is.

    :ivar authorities: certificates of those whom we believe.
    :ivar chain: our own certificate and what it takes to get from it to an authority; may be empty.
    :ivar key: the private key of the first of them.
    :ivar texts: what the files said, to see whether they have changed. Never to be shown.
    """

    authorities: tuple[x509.Certificate, ...] = ()
    chain: tuple[x509.Certificate, ...] = ()
    key: Any = None
    texts: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Credentials({len(self.authorities)} authorities, {len(self.chain)} own)"


NO_CREDENTIALS = Credentials()


def load_credentials(files: TlsFiles, reader: Reader) -> Credentials:
    """What is in the files.

    :raises ConfigurationError: naming the file, if one is missing or no good.
    """
    has_pair = bool(files.cert_file and files.key_file)
    if not (files.ca_file or files.ca_path or has_pair):
        return NO_CREDENTIALS
    provide_tls()
    texts: list[bytes] = []
    authorities = _authorities(files, reader, texts)
    chain: list[x509.Certificate] = []
    key = None
    if has_pair:
        chain, key = _pair(files, reader, texts)
    return Credentials(tuple(authorities), tuple(chain), key, tuple(texts))


def age_warnings(credentials: Credentials, now: datetime) -> list[str]:
    """Which of our own certificate and those of the authorities are out of date, or soon will be.

    :param now: with its time zone.
    """
    found = []
    for certificate in (*credentials.chain[:1], *credentials.authorities):
        name = certificate.subject.rfc4514_string()
        left = certificate.not_valid_after_utc - now
        if now < certificate.not_valid_before_utc:
            found.append(f"certificate is not yet valid: {name}")
        elif left.total_seconds() <= 0:
            found.append(f"certificate has expired: {name}")
        elif left.days < WARN_DAYS:
            found.append(f"certificate expires in {left.days} days: {name}")
    return found


def _authorities(files: TlsFiles, reader: Reader, texts: list[bytes]) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    paths: Sequence[str] = [files.ca_file] if files.ca_file else []
    if files.ca_path and not files.ca_file:
        try:
            paths = reader.below(files.ca_path)
        except OSError as error:
            raise ConfigurationError(f"Error loading from CAPath: {_why(files.ca_path, error)}") from None
        if not paths:
            raise ConfigurationError(f"Error loading from CAPath: no CAs found ({files.ca_path})")
    for path in paths:
        try:
            text = reader.read(path)
        except OSError as error:
            raise ConfigurationError(f"Error loading from {path}: {_why(path, error)}") from None
        certificates = _certificates(text)
        if not certificates:
            raise ConfigurationError(f"Error loading from {path}: Couldn't parse PEM: no certificate in it")
        texts.append(text)
        found += certificates
    return found


def _certificates(text: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM text; those that cannot be understood are passed over, as Consul does."""
    from cryptography import x509

    found = []
    for piece in text.split(_END)[:-1]:
        start = piece.find(_BEGIN)
        if start >= 0:
            try:
                found.append(x509.load_pem_x509_certificate(piece[start:] + _END + b"\n"))
            except ValueError:
                continue
    return found


def _pair(files: TlsFiles, reader: Reader, texts: list[bytes]) -> tuple[list[x509.Certificate], Any]:
    contents = []
    for path in (files.cert_file, files.key_file):
        try:
            contents.append(reader.read(path))
        except OSError as error:
            raise ConfigurationError(f"{NOT_A_PAIR}: {_why(path, error)}") from None
    texts += contents
    own, secret = contents
    chain = _certificates(own)
    if not chain:
        raise _no_pair(_no_certificate(own), files.cert_file)
    key = _key(secret, files.key_file)
    public, its = chain[0].public_key(), key.public_key()
    if type(public) is not type(its):
        raise _no_pair("private key type does not match public key type", files.key_file)
    if public != its:
        raise _no_pair("private key does not match public key", files.key_file)
    return chain, key


def _no_pair(problem: str, path: str) -> ConfigurationError:
    return ConfigurationError(f"{NOT_A_PAIR}: tls: {problem} ({path})")


def _no_certificate(text: bytes) -> str:
    if b"PRIVATE KEY-----" in text:
        return (
            "failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    if _BEGIN in text:
        return "failed to parse the certificate in certificate input"
    return "failed to find any PEM data in certificate input"


def _key(text: bytes, path: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if b"-----BEGIN" not in text:
        raise _no_pair("failed to find any PEM data in key input", path)
    if b"PRIVATE KEY-----" not in text:
        problem = "found a certificate rather than a key in the PEM for the private key"
        raise _no_pair(problem if _BEGIN in text else "failed to find a private key in key input", path)
    try:
        return load_pem_private_key(text, None)
    except TypeError:  # it wants a password
        raise _no_pair("the private key is encrypted", path) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_pair("failed to parse private key", path) from None


def _why(path: str, error: OSError) -> str:
    """As Go programs say it."""
    verb = "read" if isinstance(error, IsADirectoryError) else "open"
    return f"{verb} {path}: {(error.strerror or str(error)).lower()}"
