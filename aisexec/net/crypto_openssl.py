"""AEAD by OpenSSL, through the package `cryptography`.  Raises ImportError where that is missing."""

from __future__ import annotations

import cryptography
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from aisexec.net.sealed_frame import Algorithm

LIBRARY = f"cryptography {cryptography.__version__}"


class OpensslCipher:
    """One key; OpenSSL keeps its schedule from frame to frame."""

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        aead = ChaCha20Poly1305(key) if algorithm is Algorithm.CHACHA20_POLY1305 else AESGCM(key)
        self.seal = aead.encrypt
        self._decrypt = aead.decrypt

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes | None:
        """See `crypto_models.Cipher`."""
        try:
            return self._decrypt(nonce, sealed, header)
        except InvalidTag:
            return None
