"""HKDF with SHA-256 (RFC 5869): many keys from one secret."""

from __future__ import annotations

import hmac
from typing import Final

_HASH: Final = "sha256"
_HASH_SIZE: Final = 32


def extract(salt: bytes, secret: bytes) -> bytes:
    """The pseudorandom key (32 bytes) of a secret of any length."""
    return hmac.digest(salt or bytes(_HASH_SIZE), secret, _HASH)


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """`size` bytes (at most 255 * 32) that depend on the pseudorandom key and on `info`."""
    assert size <= 255 * _HASH_SIZE
    output, block = b"", b""
    number = 1
    while len(output) < size:
        block = hmac.digest(key, block + info + bytes([number]), _HASH)
        output += block
        number += 1
    return output[:size]
