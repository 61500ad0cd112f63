"""Named limits of the executive above Totem and beside the IPC."""

from typing import Final

SERVICES_COUNT_MAX: Final = 64
"""Service ids on the wire are below this: stock indexes a table of that size with the id unchecked."""

SYNC_SERVICES_MAX: Final = 128
"""Entries of a service list on the wire."""

CLIENT_EVENT_LIST_MAX: Final = 128
"""Entries of a list in a cpg event: the C library copies them to arrays of that size on its stack."""

PROCESSES_MAX: Final = 65536
"""Processes in all cpg groups of the cluster that one node keeps track of."""

JOINLIST_ENTRIES_MAX: Final = 1000
"""Processes in one join list, so that no token is held up by a long one; more take several."""

JOIN_EVENTS_MAX: Final = 16384
"""Events that the joins under way in a group will cause at this node (joins times members here)."""

ITERATIONS_PER_CLIENT_MAX: Final = 64
"""Iterations that one cpg client may have open."""

ITERATION_ENTRIES_MAX: Final = 8 * PROCESSES_MAX
"""Entries of the iterations that all clients have open; beyond it the one with the most loses its."""

PENDING_LEAVES_MAX: Final = 65536
"""procleave messages of dead clients that wait for room in the send queue."""

ADMISSION_VISITS: Final = 4
"""Clients' messages are taken until frames for so many visits of the token (totem.max_messages) wait."""

QUEUE_CRITICAL_PERCENT: Final = 75
"""Fill of the send queue from which clients are stopped ..."""

QUEUE_RELAXED_PERCENT: Final = 70
"""... and below which they may go on."""

LOG_INTERVAL: Final = 10.0
"""Seconds between two log lines about the same fault of the same node or client."""
