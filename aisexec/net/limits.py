"""Named limits of the transports."""

from typing import Final

RECEIVE_SIZE_MAX: Final = 136192
"""Bytes of the longest datagram taken in (corosync's 384 * (8 * 2 * 22) + 1024)."""

RECEIVE_FRAMES_MAX: Final = 1024
"""Frames read from one socket in one turn of the loop, so that a flood cannot starve timers and clients."""

RECEIVE_BYTES_MAX: Final = 4 * 1048576
"""Bytes after which that turn ends; as much as the kernel keeps for a socket."""

SENDERS_KNOWN_MAX: Final = 1024
"""Senders remembered by address, of a whole cluster and a few more; then all are forgotten."""

UDP_BUFFER_SIZE: Final = 16 * 65536
"""Bytes asked for as socket buffer, transport udp."""

UDPU_BUFFER_SIZE: Final = 16 * RECEIVE_SIZE_MAX
"""Bytes asked for as socket buffer, transport udpu."""

BIND_RETRIES: Final = 10
"""How often opening the sockets is tried again at start."""

BIND_PAUSE: Final = 0.1
"""Seconds before the first retry; the n-th waits n times as long."""

OWN_FRAMES_MAX: Final = 64
"""Frames sent to ourselves and not yet taken back; a ring of one has a single token under way."""

SEND_FAILURES_WARNED: Final = 30
"""Failed sends in a row after which the operator is told that the node cannot take part in a cluster."""

REPORT_INTERVAL: Final = 10.0
"""Seconds between two log lines about the same trouble with the same peer."""

REPORT_SUBJECTS_MAX: Final = 1024
"""(trouble, peer) pairs remembered for rate-limiting the log; later peers share one entry a trouble."""

REPLAY_WINDOW: Final = 4096
"""Counters behind the highest one in which a sealed frame may still arrive, more than one turn reads."""

KEY_FRAMES_BITS: Final = 24
"""Two to this power frames are sealed with one key: far below where AES-GCM wears out (RFC 8446, 5.5)."""

DERIVATIONS_MAX: Final = 50
"""Keys derived, for frames of sessions that have not proven themselves, in one DERIVATION_INTERVAL: each
takes 20 us with openssl and 200 us with pycryptodome, which a flood of forged frames must not multiply."""

DERIVATION_INTERVAL: Final = 0.05
"""Seconds."""

CLOSED_SESSIONS_MAX: Final = 8
"""Earlier sessions of a node remembered as closed; older ones would have to prove themselves anew."""

CHALLENGE_LIFETIME: Final = 10.0
"""Seconds for which a challenge is the same; it can be answered until one more of these has passed."""

HANDSHAKE_INTERVAL: Final = 0.02
"""Seconds between two challenges to, and between two answers to, one session of a node."""

REPEATED_AGE_MAX: Final = 0.1
"""Seconds for which the last frame to all is worth sending again to a node that had to drop it."""

LATENESS_MAX: Final = 1.0
"""Seconds after which nothing is taken any more that was sealed before a frame that has arrived; up to
twice as long, since it is looked at in steps of this."""

SILENCE_ASKED: Final = 5.0
"""Seconds without a frame of a session after which it is asked whether it is alive."""

SILENCE_MAX: Final = 15.0
"""Seconds without a frame of a session after which it has to prove itself anew."""

SILENCE_LOOKED: Final = 1.0
"""Seconds between two looks at who has been silent."""

TURN_PATIENCE: Final = 0.001
"""Seconds that a turn waits for the next frame while the token goes round; everything else waits with it."""

TURN_MAX: Final = 0.002
"""Seconds after which a turn that is waited for looks after everything else."""
