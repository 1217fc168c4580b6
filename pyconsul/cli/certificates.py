"""Certificates of a CA of one's own, as ``pyconsul tls`` makes them.

What stands in them is what Consul 1.8.7 writes, but for the names of the CA. Loaded by that command only,
since ``cryptography`` takes longer to load than all others take to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyconsul.errors import ConfigurationError

_ORGANIZATION = "pyconsul"
_PEM = serialization.Encoding.PEM
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
USES = {"server": (_SERVER, _CLIENT), "client": (_CLIENT, _SERVER), "cli": ()}
"""What each kind of certificate is for; nothing said means anything."""


class Pair(NamedTuple):
    """A certificate and its private key, as PEM texts."""

    certificate: bytes
    key: bytes


class Authority(NamedTuple):
    """Who signs."""

    certificate: x509.Certificate
    key: Any


def make_authority(now: datetime, days: int, permitted: Sequence[str] = ()) -> Pair:
    """A new CA.

    :param permitted: the only names, with all below them, that it may vouch for; any if there are none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Consul Agent CA {serial}"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(now, days, serial)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(_usage(digital_signature=True, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    if permitted:
        trees = [x509.DNSName(tree) for tree in permitted]
        builder = builder.add_extension(x509.NameConstraints(trees, None), critical=True)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def read_authority(certificate: bytes, key: bytes) -> Authority:
    """A CA out of its PEM texts.

    :raises ConfigurationError: if they are none, or do not belong together.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise ConfigurationError("no PEM-encoded certificate found") from None
    try:
        secret = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise ConfigurationError("the private key is encrypted") from None
    except ValueError:
        raise ConfigurationError("no PEM-encoded private key found") from None
    if secret.public_key() != found.public_key():
        raise ConfigurationError("the private key is not that of the CA")
    return Authority(found, secret)


def make_certificate(
    authority: Authority, kind: str, names: Sequence[str], addresses: Sequence[str], now: datetime, days: int
) -> Pair:
    """A certificate with a new key.

    :param kind: of those in ``USES``.
    :param names: what it is for; the last but one is its own, the last ``localhost``.
    :raises ConfigurationError: if it would be no good.
    """
    _check(authority, names, now, days)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(_address(text)) for text in addresses]
    builder = (
        _builder(now, days, x509.random_serial_number())
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-2])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issuer(issuer), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    )
    if USES[kind]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(USES[kind]), critical=False)
    no_hash = isinstance(authority.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return _pair(builder.sign(authority.key, None if no_hash else hashes.SHA256()), key)


def _check(authority: Authority, names: Sequence[str], now: datetime, days: int) -> None:
    """Refuse what others would refuse later."""
    certificate = authority.certificate
    if days <= 0:
        raise ConfigurationError("x509: certificate has expired or is not yet valid: -days must be positive")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigurationError("x509: certificate has expired or is not yet valid: that of the CA")
    try:
        trees = certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    except x509.ExtensionNotFound:
        return
    permitted = [tree.value.lower() for tree in trees or () if isinstance(tree, x509.DNSName)]
    for name in names:
        lower = name.lower()
        if permitted and not any(lower == tree or lower.endswith(f".{tree}") for tree in permitted):
            raise ConfigurationError(f"x509: the CA is not authorized to sign for {name}")


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigurationError(f"invalid IP address: {text}") from None


def _builder(now: datetime, days: int, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{use: wanted.get(use, False) for use in every})


def _issuer(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    secret = key.private_bytes(
        _PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(_PEM), secret)
