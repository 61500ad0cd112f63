"""What the log says of a datagram that was refused: what it is, from whom, and what to do about it."""

from __future__ import annotations

from aisexec.net.base import NetworkSettings, Security
from aisexec.net.crypto import Verdict
from aisexec.net.crypto_models import ALGORITHMS
from aisexec.net.sealed_frame import HEADER, MAGIC, VERSION
from aisexec.totem.foreign import name_format

_NAMES: dict[int, str] = {algorithm: name for name, algorithm in ALGORITHMS.items()}


def refusal(
    verdict: Verdict,
    datagram: bytes,
    sender: str,
    settings: NetworkSettings,
    security: Security,
    session: bytes,
) -> str | None:
    """The line; None for what happens in an orderly cluster too.  session: our own."""
    if verdict in (Verdict.HANDSHAKE, Verdict.UNPROVEN):
        return None
    if verdict is Verdict.UNREAD:
        return (
            f"Received more sealed frames of unknown senders than are looked at, the last one from {sender}:"
            " somebody floods this node with forged frames, or many nodes have another key. Ignoring."
        )
    if verdict is Verdict.FOREIGN:
        return _foreign(datagram, sender)
    if verdict is Verdict.INVALID:
        # corosync.conf(5) and corosync-keygen(8) promise the first words.
        return (
            f"Received message has invalid digest... ignoring. It came from {sender}, whose key differs from"
            f" the key of this node ({security.key_source}): copy the same key file to all nodes of the"
            " cluster and start them anew."
        )
    head = HEADER.unpack(datagram)
    if verdict is Verdict.ALGORITHM:
        other = _NAMES.get(head.algorithm, f"number {head.algorithm}")
        return (
            f"Incoming packet from {sender} has different crypto type ({other}), this node uses"
            f" {security.algorithm}: configure the same crypto_cipher and crypto_hash on all nodes. Ignoring."
        )
    if verdict is Verdict.STRANGER:
        return (
            f"Received a frame from {sender} in the name of node {head.sender}, which is not in the nodelist"
            " of this node: give all nodes the same nodelist. Ignoring."
        )
    if verdict is Verdict.REFLECTED:
        return _reflected(sender, settings.nodeid, own=head.session == session)
    if verdict is Verdict.ALTERED:
        return (
            f"Received message has invalid digest... ignoring. It came from {sender} in the name of node"
            f" {head.sender}, which has our key: the frame was damaged on its way, or somebody forges frames."
        )
    if verdict is Verdict.OUTDATED:
        return (
            f"Received a frame from {sender} that node {head.sender} sealed before it was started anew: two"
            " executives run with the same nodeid, or somebody replays frames. Ignoring."
        )
    what = {
        Verdict.MISDIRECTED: f"a frame meant for node {head.target}",
        Verdict.REPLAYED: f"a frame of node {head.sender} that was received before or is too old",
    }[verdict]
    return f"Received {what} from {sender}: the network repeats frames, or somebody replays them. Ignoring."


def _foreign(datagram: bytes, sender: str) -> str:
    if len(datagram) > 2 and int.from_bytes(datagram[:2], "little") == MAGIC:
        what = "it is too short"
        if datagram[2] != VERSION:
            what = f"its format has version {datagram[2]}, this node uses {VERSION}"
        return f"Received a sealed frame from {sender} that cannot be used: {what}. Ignoring."
    return (
        f"Received a frame from {sender} that cannot be used: {name_format(datagram).text}, while this node"
        " encrypts or authenticates (totem.secauth, crypto_cipher, crypto_hash): configure all nodes alike."
        " Ignoring."
    )


def _reflected(sender: str, nodeid: int, *, own: bool) -> str:
    why = (
        "the network sends it back, or somebody does"
        if own
        else "another node has the same nodeid, or somebody replays what this node sent earlier"
    )
    return f"Received a frame with the nodeid of this node ({nodeid}) from {sender}: {why}. Ignoring."
