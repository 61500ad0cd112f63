"""Named limits of the transports."""

from typing import Final

RECEIVE_SIZE_MAX: Final = 136192
"""Bytes of the longest datagram taken in (corosync's 384 * (8 * 2 * 22) + 1024)."""

RECEIVE_FRAMES_MAX: Final = 4096
"""Frames read from one socket in one turn of the loop, so that a flood cannot starve timers and clients."""

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
