"""Encryption and authentication of frames: what secauth, crypto_* and the key file come to."""

from __future__ import annotations

import os
from typing import NamedTuple

from aisexec.config.keyfile import KeyFileError
from aisexec.config.limits import KEY_SIZE_MAX, KEY_SIZE_MIN
from aisexec.config.machine import CRYPTO_PACKAGES, Machine
from aisexec.config.model import Security
from aisexec.config.nodes import ResolvedNode
from aisexec.config.problems import Problems, Where
from aisexec.config.schema import Values

OVERHEAD = 53
"""Bytes that sealing adds to a frame (`aisexec.net.sealed_frame.OVERHEAD`)."""

DEFAULT_KEYFILE = "/etc/corosync/authkey"


class Wanted(NamedTuple):
    """Cipher and hash, `none` where there is none."""

    cipher: str
    hash: str

    @property
    def algorithm(self) -> str | None:
        """What seals frames: the cipher, or the hash alone; None without both."""
        return next((name for name in self if name != "none"), None)


def wanted(totem: Values) -> Wanted:
    """As totem_get_crypto decides: secauth stands for aes256 and sha256 where they are not given."""
    secure = totem.value("secauth") == "on"
    return Wanted(
        totem.value("crypto_cipher") or ("aes256" if secure else "none"),
        totem.value("crypto_hash") or ("sha256" if secure else "none"),
    )


def check_crypto(root: Values, problems: Problems) -> None:
    """Contradictions in the file alone."""
    totem = root.one("totem")
    cipher, hashing = wanted(totem)
    if cipher != "none" and hashing == "none":
        problems.error(
            totem.where_of("crypto_cipher"),
            "crypto_cipher requires crypto_hash with value other than none",
            "write 'crypto_hash: sha256'",
        )
    if totem.value("transport") not in ("udp", "udpu"):
        return  # nothing to say before the transport is mended
    model = totem.value("crypto_model")
    if model is not None and model not in CRYPTO_PACKAGES and cipher != "none":
        problems.warning(
            totem.where_of("crypto_model"),
            f"crypto_model {model} is a library of knet",
            "the fastest of openssl and pycryptodome is used",
        )


def derive_security(
    root: Values, nodes: list[ResolvedNode], machine: Machine, problems: Problems
) -> Security | None:
    """How frames are sealed; None when they are not, or when the key cannot be used (reported)."""
    totem = root.one("totem")
    if totem.value("transport") not in ("udp", "udpu"):
        return None
    algorithm = wanted(totem).algorithm
    if algorithm is None:
        _warn_open(totem, nodes, problems)
        return None
    model = totem.value("crypto_model")
    if model not in CRYPTO_PACKAGES:
        model = None
    elif model not in machine.crypto_models:
        problems.error(
            totem.where_of("crypto_model"),
            f"crypto_model {model}: the Python package {CRYPTO_PACKAGES[model][0]} is not installed",
            "install it, or remove the key: what is installed is used",
        )
    key, source = _key(root, machine, problems)
    if not key:
        return None
    return Security(algorithm, key, source, model)


def _warn_open(totem: Values, nodes: list[ResolvedNode], problems: Problems) -> None:
    if nodes and all(node.address.is_loopback for node in nodes):
        return  # nobody outside this machine can reach it
    problems.warning(
        totem.where_of("transport"),
        "frames are neither encrypted nor authenticated: anybody on the network can read messages and"
        " disturb the ring",
        "write 'secauth: on' on all nodes and give them a key made by corosync-keygen (nodes that run"
        " corosync itself cannot take part then)",
    )


def _key(root: Values, machine: Machine, problems: Problems) -> tuple[bytes, str]:
    """The key and where it is from, in corosync's order; empty after a problem."""
    totem = root.one("totem")
    if totem.given("key") and not totem.given("keyfile"):
        return _written_key(totem, problems)
    if totem.given("keyfile"):
        path, where = totem.value("keyfile"), totem.where_of("keyfile")
    else:
        path, where = machine.authkey_file or DEFAULT_KEYFILE, _where_asked(totem)
    try:
        return machine.read_key(path), path
    except KeyFileError as error:
        problems.error(where, error.what, error.write)
        return b"", ""


def _where_asked(totem: Values) -> Where:
    key = next(key for key in ("crypto_cipher", "crypto_hash", "secauth") if totem.given(key))
    return totem.where_of(key)


def _written_key(totem: Values, problems: Problems) -> tuple[bytes, str]:
    key, where = os.fsencode(totem.value("key")), totem.where_of("key")
    if not KEY_SIZE_MIN <= len(key) <= KEY_SIZE_MAX:
        problems.error(
            where,
            f"key of {len(key)} bytes; it must have {KEY_SIZE_MIN} to {KEY_SIZE_MAX}",
            "remove it and make a key file with corosync-keygen",
        )
        return b"", ""
    problems.warning(
        where,
        "the key is in the configuration, where everybody who may read the file sees it",
        "remove it and make a key file with corosync-keygen",
    )
    return key, f"key in {where}"
