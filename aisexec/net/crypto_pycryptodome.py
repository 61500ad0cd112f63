"""AEAD by pycryptodome, which is always installed.

Its cipher objects serve one message each, which makes it many times slower than OpenSSL.
"""

from __future__ import annotations

from typing import Any

import Crypto
from Crypto.Cipher import AES, ChaCha20_Poly1305

from aisexec.net.sealed_frame import TAG_SIZE, Algorithm

LIBRARY = f"pycryptodome {Crypto.__version__}"


class PycryptodomeCipher:
    """One key."""

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._key = key
        self._chacha20 = algorithm is Algorithm.CHACHA20_POLY1305

    def _message(self, nonce: bytes, header: bytes) -> Any:
        cipher: Any
        if self._chacha20:
            cipher = ChaCha20_Poly1305.new(key=self._key, nonce=nonce)
        else:
            cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce, mac_len=TAG_SIZE)
        cipher.update(header)
        return cipher

    def seal(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        """See `crypto_models.Cipher`."""
        sealed, tag = self._message(nonce, header).encrypt_and_digest(data)
        return bytes(sealed + tag)

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes | None:
        """See `crypto_models.Cipher`."""
        try:
            message = self._message(nonce, header)
            return bytes(message.decrypt_and_verify(sealed[:-TAG_SIZE], sealed[-TAG_SIZE:]))
        except ValueError:
            return None
