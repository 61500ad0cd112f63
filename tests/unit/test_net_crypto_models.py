"""Key derivation, and that all libraries seal alike."""

from __future__ import annotations

import random
import sys

import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF

from aisexec.net import crypto_models
from aisexec.net.base import NetError
from aisexec.net.crypto_models import ALGORITHMS, KEY_SIZES, TITLES, Cipher, cipher_maker
from aisexec.net.hkdf import expand, extract
from aisexec.net.sealed_frame import TAG_SIZE, Algorithm

CIPHERS = ("aes128", "aes192", "aes256", "chacha20")
HASHES = ("md5", "sha1", "sha256", "sha384", "sha512")


def made(name: str, key: bytes, model: str | None = None) -> Cipher:
    return cipher_maker(ALGORITHMS[name], model).make(key)


@pytest.mark.parametrize(
    ("secret", "salt", "info", "size", "key", "output"),
    [
        (
            "0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22, "", "", 42,
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)  # fmt: skip
def test_hkdf_of_rfc_5869(secret: str, salt: str, info: str, size: int, key: str, output: str) -> None:
    """Appendix A.1 and A.3."""
    extracted = extract(bytes.fromhex(salt), bytes.fromhex(secret))
    assert extracted.hex() == key
    assert expand(extracted, bytes.fromhex(info), size).hex() == output


@pytest.mark.parametrize("size", [1, 16, 32, 33, 64, 100, 1000])
def test_hkdf_against_another(size: int) -> None:
    theirs = HKDF(b"secret" * 40, size, b"salt", SHA256, context=b"info")
    assert expand(extract(b"salt", b"secret" * 40), b"info", size) == theirs


def test_a_published_vector_of_aes_gcm() -> None:
    """Test case 13 of the GCM specification: nothing, sealed with zeros."""
    for model in ("openssl", "pycryptodome"):
        sealed = made("aes256", bytes(32), model).seal(bytes(12), b"", b"")
        assert sealed.hex() == "530f8afbc74536b9a963b4f1c4cb738b"


@pytest.mark.parametrize("name", CIPHERS)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1400, 9000])
def test_models_seal_alike_byte_for_byte(name: str, size: int) -> None:
    rng = random.Random(size)
    key, nonce, header = rng.randbytes(KEY_SIZES[ALGORITHMS[name]]), rng.randbytes(12), rng.randbytes(37)
    data = rng.randbytes(size)
    one, other = made(name, key, "openssl"), made(name, key, "pycryptodome")
    sealed = one.seal(nonce, data, header)
    assert sealed == other.seal(nonce, data, header)
    assert len(sealed) == size + TAG_SIZE
    assert one.open(nonce, sealed, header) == other.open(nonce, sealed, header) == data


@pytest.mark.parametrize("name", [*CIPHERS, *HASHES])
@pytest.mark.parametrize("model", ["openssl", "pycryptodome"])
def test_what_was_changed_does_not_open(name: str, model: str) -> None:
    key, nonce, header, data = bytes(KEY_SIZES[ALGORITHMS[name]]), bytes(12), bytes(37), b"some data"
    cipher = made(name, key, model)
    sealed = cipher.seal(nonce, data, header)
    assert cipher.open(nonce, sealed, header) == data
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 0x40
        assert cipher.open(nonce, bytes(changed), header) is None
    for position in range(len(header)):
        other = bytearray(header)
        other[position] ^= 1
        assert cipher.open(nonce, sealed, bytes(other)) is None
    assert made(name, b"\1" * len(key), model).open(nonce, sealed, header) is None
    assert cipher.open(nonce, b"", header) is None
    assert cipher.open(nonce, sealed[:-1], header) is None


@pytest.mark.parametrize("name", HASHES)
def test_hashes_only_authenticate(name: str) -> None:
    assert made(name, bytes(32)).seal(bytes(12), b"readable", bytes(37)).startswith(b"readable")
    assert "not encrypted" in TITLES[ALGORITHMS[name]]


def test_every_algorithm_has_a_name_a_key_size_and_a_title() -> None:
    assert set(ALGORITHMS.values()) == set(KEY_SIZES) == set(TITLES) == set(Algorithm)


def test_the_fastest_present_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cipher_maker(Algorithm.AES256_GCM).model == "openssl"
    assert cipher_maker(Algorithm.AES256_GCM, "pycryptodome").model == "pycryptodome"
    monkeypatch.delitem(sys.modules, "aisexec.net.crypto_openssl", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert cipher_maker(Algorithm.AES256_GCM).model == "pycryptodome"
    with pytest.raises(NetError, match="install the Python package cryptography"):
        cipher_maker(Algorithm.AES256_GCM, "openssl")


def test_the_libraries_are_named_for_the_log() -> None:
    assert cipher_maker(Algorithm.AES256_GCM, "openssl").library.startswith("cryptography ")
    assert cipher_maker(Algorithm.AES256_GCM, "pycryptodome").library.startswith("pycryptodome ")
    assert list(crypto_models._MODULES) == ["openssl", "pycryptodome"]
