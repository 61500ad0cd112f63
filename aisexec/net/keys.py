"""The keys of sealed frames, all derived from the content of the key file."""

from __future__ import annotations

from typing import Final

from aisexec.net.crypto_models import KEY_SIZES, Cipher, CipherMaker
from aisexec.net.hkdf import expand, extract
from aisexec.net.limits import KEY_FRAMES_BITS
from aisexec.net.sealed_frame import KEY_CONTEXT, NONCE_SIZE, VERSION, KeyContext, Purpose

_SALT: Final = b"aisexec sealed frames"


class Keys:
    """Gives every sender, session, purpose and epoch a key of its own.

    The cluster's name is no part of it: where it differs by mistake, a complaint about keys would
    send the operator the wrong way.
    """

    def __init__(self, secret: bytes, maker: CipherMaker) -> None:
        self.algorithm = maker.algorithm
        self._make = maker.make
        self._root = extract(_SALT, secret)

    def cipher(self, purpose: int, sender: int, session: bytes, epoch: int) -> Cipher:
        """epoch: counter of the frame, less its last KEY_FRAMES_BITS bits."""
        context = KeyContext(VERSION, self.algorithm, purpose, sender, session, epoch)
        return self._make(expand(self._root, KEY_CONTEXT.pack(context), KEY_SIZES[self.algorithm]))


class SessionKeys:
    """The keys of one session of one sender, made when they are needed."""

    __slots__ = ("_ciphers", "_keys", "_sender", "session")

    def __init__(self, keys: Keys, sender: int, session: bytes) -> None:
        self._keys = keys
        self._sender = sender
        self.session = session
        self._ciphers: dict[tuple[int, int], Cipher] = {}

    def seal(self, purpose: Purpose, counter: int, header: bytes, data: bytes) -> bytes:
        """The sealed data and the tag, behind their header."""
        epoch = counter >> KEY_FRAMES_BITS
        cipher = self._ciphers.get((purpose, epoch))
        if cipher is None:
            cipher = self._keys.cipher(purpose, self._sender, self.session, epoch)
            self._keep(purpose, epoch, cipher)
        return header + cipher.seal(header[-NONCE_SIZE:], data, header)

    def has_key(self, purpose: int, counter: int) -> bool:
        """Can `open` do without deriving a key?"""
        return (purpose, counter >> KEY_FRAMES_BITS) in self._ciphers

    def prepare(self, purpose: int, counter: int) -> None:
        """Have the key for frames with such counters, whatever comes."""
        if not self.has_key(purpose, counter):
            epoch = counter >> KEY_FRAMES_BITS
            self._keep(purpose, epoch, self._keys.cipher(purpose, self._sender, self.session, epoch))

    def open(self, purpose: int, counter: int, header: bytes, sealed: bytes) -> bytes | None:
        """What was sealed, None when it is not genuine; only genuine frames leave a key behind."""
        epoch = counter >> KEY_FRAMES_BITS
        cipher = self._ciphers.get((purpose, epoch))
        if cipher is not None:
            return cipher.open(header[-NONCE_SIZE:], sealed, header)
        cipher = self._keys.cipher(purpose, self._sender, self.session, epoch)
        data = cipher.open(header[-NONCE_SIZE:], sealed, header)
        if data is not None:
            self._keep(purpose, epoch, cipher)
        return data

    def _keep(self, purpose: int, epoch: int, cipher: Cipher) -> None:
        # The last key stays: frames of its epoch may still be under way.
        for key in [key for key in self._ciphers if key[1] < epoch - 1]:
            del self._ciphers[key]
        self._ciphers[purpose, epoch] = cipher
