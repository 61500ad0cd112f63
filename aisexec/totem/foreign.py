"""Naming the sender of a datagram that is not in the format this node reads.

Rolling upgrades and half-done changes of configuration make nodes of different formats meet; what
helps is to be told which one is on the other side.  The marks: corosync 1.x and 2.x from their
`struct message_header` and `struct crypto_config_header`, kronosnet from its first byte.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PLAIN_MAGIC: Final = b"\x70\xc0"
"""First bytes of a frame of corosync 3 (0xC070, little-endian), which is also ours without encryption."""

SEALED_MAGIC: Final = b"\x5e\xa1"
"""First bytes of a frame that `aisexec.net.sealed_frame` has encrypted or authenticated."""

_SWAPPED_MAGIC: Final = PLAIN_MAGIC[::-1]
_COROSYNC_2: Final = {b"\xff\xff": "2.2", b"\xfe\xfe": "2.3 or a later 2.x"}
_ENDIAN_DETECTORS: Final = (b"\x22\xff", b"\xff\x22")
_OLD_TYPE_MAX: Final = 5
_KNET_VERSION: Final = 1


class Format(NamedTuple):
    """`kind` is the counter such frames go to, `text` a clause about "it"."""

    kind: str
    text: str


def name_format(frame: bytes) -> Format:
    """What a datagram is by its first bytes.  Never fails: the last guess is that nobody knows."""
    magic = frame[:2]
    if magic == PLAIN_MAGIC:
        return Format("plain", "it is not encrypted (corosync 3, or aisexec without secauth)")
    if magic == SEALED_MAGIC:
        return Format("sealed", "it is encrypted or authenticated by aisexec (secauth or crypto_hash)")
    if magic == _SWAPPED_MAGIC:
        return Format("byte_order", "it was sent by a machine of the other byte order, not supported")
    version = _COROSYNC_2.get(magic)
    if version is not None:
        number = int.from_bytes(magic, "little")
        return Format("version", f"it was sent by corosync {version} (magic {number:#06x}), not compatible")
    if frame[2:4] in _ENDIAN_DETECTORS and frame[0] <= _OLD_TYPE_MAX:
        return Format("version", "it was sent by corosync 1.x or openais, not compatible")
    if len(frame) > 1 and frame[0] == _KNET_VERSION and (frame[1] & 0x7F) <= _OLD_TYPE_MAX:
        return Format("knet", "it is kronosnet's (corosync 3 with transport knet, not encrypted)")
    number = int.from_bytes(magic, "little")
    return Format(
        "magic",
        f"magic {number:#06x} is not Totem's: it is encrypted by kronosnet or by corosync 1.x, or comes from"
        " another program that uses this port",
    )
