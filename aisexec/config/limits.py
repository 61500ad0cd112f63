"""Named limits of the configuration reader; each is checked where text enters."""

from __future__ import annotations

FILE_SIZE_MAX = 1 << 20
"""Bytes of one configuration file: 384 nodes with every key fill about an eighth of it."""

LINE_LENGTH_MAX = 510
"""Bytes of a line without its newline: what corosync's parser takes, so that a file fits both."""

SECTION_DEPTH_MAX = 16
"""Sections inside sections; the deepest known one has four levels."""

KEY_PATH_MAX = 254
"""Characters of `section.subsection.key`: the longest name a cmap key can have in corosync."""

SYNTAX_ERRORS_MAX = 100
"""Errors kept of one file, so that a wrong file (an executable, say) gives a bounded report."""

SUGGESTIONS_MAX = 500
"""Problems after which unknown names are not compared with the known ones any more, which takes a while."""

UIDGID_FILES_MAX = 1024
"""Files read from uidgid.d."""

LINKS_MAX = 8
"""ring0_addr to ring7_addr."""

NODES_MAX = 384
"""Members of a ring (PROCESSOR_COUNT_MAX)."""

NETMTU_MIN = 256
"""Below this the frame headers (90 bytes, 143 with encryption) leave no room worth sending."""

UDP_PAYLOAD_MAX = 65507
"""Bytes of the largest UDP datagram over IPv4; a full recovery frame is `netmtu` bytes long."""

WATCHDOG_TYPICAL = 60.0
"""Seconds after which a hardware watchdog usually fires; a longer recovery resets whole clusters."""

KEY_SIZE_MIN = 128
"""Bytes of the shared key (TOTEM_PRIVATE_KEY_LEN_MIN)."""

KEY_SIZE_MAX = 4096
"""The same, at most (TOTEM_PRIVATE_KEY_LEN_MAX)."""
