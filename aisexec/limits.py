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

SERVICE_TIMERS_MAX: Final = 1024
"""Timers of all services together, cancelled ones that still wait included."""

VOTES_UNSENT_MAX: Final = 64
"""votequorum's messages that wait for room in the send queue; more are refused or dropped."""

LOG_INTERVAL: Final = 10.0
"""Seconds between two log lines about the same fault of the same node or client."""

MAP_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of the configuration map, from which on programs may add nothing."""

MAP_CLIENT_KEYS_MAX: Final = 16_384
"""Keys of the configuration map that programs have created ..."""

MAP_CLIENT_CONFIGURED_MAX: Final = 256
"""... and those among them that a reload takes out: each is told to every track of it in one go."""

CMAP_ITERATIONS_PER_CLIENT_MAX: Final = 256
"""Iterations that one cmap client may have open."""

CMAP_TRACKS_PER_CLIENT_MAX: Final = 256
"""Tracks that one cmap client may have ..."""

CMAP_TRACKS_MAX: Final = 1024
"""... and all together: a change may have to be told to every one of them."""

STATS_TRACKS_MAX: Final = 128
"""Those of the statistics map: a client that comes or goes is told to each of them in 13 events."""

STATS_INTERVAL: Final = 1.5
"""Seconds between two looks at the statistics that somebody tracks."""

STATS_CACHE: Final = 0.02
"""Seconds for which statistics are not asked for again: who reads one usually reads them all."""

RELOAD_REQUESTS_MAX: Final = 64
"""Clients that wait for a reload of the configuration to begin; more are told to try again."""

RELOAD_CHECK_TIMEOUT: Final = 15.0
"""Seconds that the other nodes have to check their configuration files before nothing is reloaded."""

RELOAD_ERRORS_LOGGED_MAX: Final = 100
"""Errors of a broken configuration file that are logged one by one; all are counted."""

RELOAD_READ_INTERVAL: Final = 1.0
"""Seconds from the beginning of one reading of the configuration for other nodes to that of the next."""

CFG_OUTBOX_MAX: Final = 16
"""Orders to nodes that wait for room in the send queue; more are dropped."""

WATCHED_RESOURCES_MAX: Final = 256
"""Resources that the watchdog service looks at, each with a timer."""
