"""RSA as both channels use it: SHA256 with PKCS#1 v1.5, signatures in base64.

Errors say which key is wrong and never show any of it.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from buffmoney.collection.channels import CredentialsError

SMALLEST_KEY_BITS = 2048


def private_key(text: str, field: str) -> RSAPrivateKey:
    """A private key from PEM, or from the base64 of its DER (PKCS#1 or PKCS#8). Raises CredentialsError naming `field`."""
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_private_key(text.encode(), password=None)
        else:
            key = serialization.load_der_private_key(_unwrapped(text), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not chained: what a parser says may quote what it read.
        raise CredentialsError(f"{field} is not an unencrypted private key") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < SMALLEST_KEY_BITS:
        raise CredentialsError(f"{field} is not an RSA key of at least {SMALLEST_KEY_BITS} bits")
    return key


def public_key(text: str, field: str) -> RSAPublicKey:
    """A public key from PEM, from a PEM certificate, or from the base64 of its DER. Raises CredentialsError naming `field`."""
    try:
        if "-----BEGIN CERTIFICATE" in text:
            key = load_pem_x509_certificate(text.encode()).public_key()
        elif "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
        else:
            key = serialization.load_der_public_key(_unwrapped(text))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialsError(f"{field} is not a public key or certificate") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_KEY_BITS:
        raise CredentialsError(f"{field} is not an RSA key of at least {SMALLEST_KEY_BITS} bits")
    return key


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """The signature of the message's bytes, base64."""
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(key: RSAPublicKey, message: bytes, signature: str) -> bool:
    """Whether the signature (base64) is of exactly these bytes and this key."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _unwrapped(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
