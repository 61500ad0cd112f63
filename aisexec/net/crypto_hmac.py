"""Authentication without encryption: HMAC (RFC 2104) of the standard library, cut to 16 bytes."""

from __future__ import annotations

import hmac
from typing import Final

from aisexec.net.sealed_frame import TAG_SIZE, Algorithm

HASHES: Final = {
    Algorithm.HMAC_MD5: "md5",
    Algorithm.HMAC_SHA1: "sha1",
    Algorithm.HMAC_SHA256: "sha256",
    Algorithm.HMAC_SHA384: "sha384",
    Algorithm.HMAC_SHA512: "sha512",
}


class HmacCipher:
    """The header has a fixed length and holds the nonce, so header and data need no separation."""

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._hash = HASHES[algorithm]
        self._key = key

    def seal(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        """See `crypto_models.Cipher`."""
        return data + hmac.digest(self._key, header + data, self._hash)[:TAG_SIZE]

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes | None:
        """See `crypto_models.Cipher`."""
        data = sealed[:-TAG_SIZE]
        tag = hmac.digest(self._key, header + data, self._hash)[:TAG_SIZE]
        return data if hmac.compare_digest(tag, sealed[-TAG_SIZE:]) else None
