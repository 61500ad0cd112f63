"""The form of a frame that is encrypted or authenticated (docs/encryption.md).

    header | sealed frame | tag

The header is in the clear and authenticated: it says who sent what to whom in which session, and
tells the receiver which key to take.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, NamedTuple

from aisexec.totem.foreign import SEALED_MAGIC
from ipc.layout import U8, U16, U32, U64, Chars, Layout

MAGIC: Final = int.from_bytes(SEALED_MAGIC, "little")
VERSION: Final = 1
TAG_SIZE: Final = 16
SESSION_SIZE: Final = 16
CHALLENGE_SIZE: Final = 16
NONCE_SIZE: Final = 12
"""Bytes of the header's end that are the nonce: the end of the session id, which the key is bound to
anyway, and the counter, which makes it unique."""

TO_ALL: Final = 0
"""Target of a frame that all nodes may take."""


class Purpose(IntEnum):
    """What a frame is for; each purpose has keys of its own."""

    FRAME = 1
    HANDSHAKE = 2


class Algorithm(IntEnum):
    """How a frame is sealed: AEAD ciphers, and from 16 on authentication alone (RFC 2104)."""

    AES128_GCM = 1
    AES192_GCM = 2
    AES256_GCM = 3
    CHACHA20_POLY1305 = 4
    HMAC_MD5 = 16
    HMAC_SHA1 = 17
    HMAC_SHA256 = 18
    HMAC_SHA384 = 19
    HMAC_SHA512 = 20


class SealedHeader(NamedTuple):
    """Head of every sealed frame, the associated data of its seal."""

    magic: U16
    version: U8
    algorithm: U8
    purpose: U8
    sender: U32
    """Nodeid of who put the frame on the wire; a message sent again was perhaps another node's."""
    target: U32
    """Nodeid of the only node that may take it, or TO_ALL."""
    session: Annotated[bytes, Chars(SESSION_SIZE)]
    """Random, drawn by the sender when it starts."""
    counter: U64
    """Counts what the session has sealed, whatever its purpose or target; the first frame is 1."""


HEADER = Layout(SealedHeader)
HEADER_SIZE: Final = HEADER.size
OVERHEAD: Final = HEADER_SIZE + TAG_SIZE

assert OVERHEAD == 53


class Handshake(NamedTuple):
    """Content of a frame of purpose HANDSHAKE; zeros where there is nothing to say."""

    session: Annotated[bytes, Chars(SESSION_SIZE)]
    """The session of the target that this is about."""
    challenge: Annotated[bytes, Chars(CHALLENGE_SIZE)]
    """To be sent back, in proof that the target's session is alive."""
    answer: Annotated[bytes, Chars(CHALLENGE_SIZE)]
    """A challenge of the target's, sent back."""


HANDSHAKE = Layout(Handshake)
NOTHING: Final = bytes(CHALLENGE_SIZE)


class KeyContext(NamedTuple):
    """What a key is bound to: the `info` of its derivation (RFC 5869)."""

    version: U8
    algorithm: U8
    purpose: U8
    sender: U32
    session: Annotated[bytes, Chars(SESSION_SIZE)]
    epoch: U64
    """Counter divided by the frames a key may seal."""


KEY_CONTEXT = Layout(KeyContext)
