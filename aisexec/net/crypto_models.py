"""Which library seals: the values of totem.crypto_model, and the choice among those installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from aisexec.exit_codes import ExitCode
from aisexec.net.base import NetError
from aisexec.net.crypto_hmac import HASHES, HmacCipher
from aisexec.net.sealed_frame import Algorithm

ALGORITHMS: Final = {
    "aes128": Algorithm.AES128_GCM,
    "aes192": Algorithm.AES192_GCM,
    "aes256": Algorithm.AES256_GCM,
    "chacha20": Algorithm.CHACHA20_POLY1305,
    **{name: algorithm for algorithm, name in HASHES.items()},
}
"""By the names of totem.crypto_cipher, and of totem.crypto_hash where there is no cipher."""

KEY_SIZES: Final = {
    Algorithm.AES128_GCM: 16,
    Algorithm.AES192_GCM: 24,
    Algorithm.AES256_GCM: 32,
    Algorithm.CHACHA20_POLY1305: 32,
    **dict.fromkeys(HASHES, 32),
}
"""Bytes."""

TITLES: Final = {
    Algorithm.AES128_GCM: "AES-128-GCM",
    Algorithm.AES192_GCM: "AES-192-GCM",
    Algorithm.AES256_GCM: "AES-256-GCM",
    Algorithm.CHACHA20_POLY1305: "ChaCha20-Poly1305",
    **{algorithm: f"HMAC-{name.upper()}, not encrypted" for algorithm, name in HASHES.items()},
}


class Cipher(Protocol):
    """Seals and opens with one key."""

    def seal(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        """`data` sealed, with its tag of 16 bytes at the end; `header` is authenticated along with it.

        No nonce (12 bytes) may be used twice.
        """

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes | None:
        """What was sealed; None when tag, data, header or key are not those of the sealing."""


class CipherMaker(NamedTuple):
    """Makes ciphers of one algorithm from keys; `library` says with what, for the log."""

    algorithm: Algorithm
    model: str
    library: str
    make: Callable[[bytes], Cipher]


_MODULES: Final = {
    "openssl": ("aisexec.net.crypto_openssl", "OpensslCipher"),
    "pycryptodome": ("aisexec.net.crypto_pycryptodome", "PycryptodomeCipher"),
}
"""The fastest first."""


def cipher_maker(algorithm: Algorithm, model: str | None = None) -> CipherMaker:
    """The library of that model, or the fastest installed; raises NetError when there is none."""
    if algorithm in HASHES:
        return CipherMaker(algorithm, "python", "hashlib", lambda key: HmacCipher(algorithm, key))
    reasons = []
    for name in _MODULES if model is None else (model,):
        module_name, class_name = _MODULES[name]
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            reasons.append(f"{name}: {error}")
            continue
        cipher: Callable[[Algorithm, bytes], Cipher] = getattr(module, class_name)
        return CipherMaker(algorithm, name, module.LIBRARY, _bind(cipher, algorithm))
    raise NetError(
        f"No library for totem.crypto_cipher ({'; '.join(reasons)}): install the Python package"
        " cryptography, or choose another totem.crypto_model.",
        ExitCode.FATAL_ERROR,
    )


def _bind(cipher: Callable[[Algorithm, bytes], Cipher], algorithm: Algorithm) -> Callable[[bytes], Cipher]:
    return lambda key: cipher(algorithm, key)
