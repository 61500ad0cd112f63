"""Every bound of the IPC rooms, by name.  Sizes are bytes, times are seconds unless said otherwise."""

from typing import Final

# What the stock libraries ask for; ring files have exactly the size that follows from it.
MESSAGE_SIZE: Final = 0x100000
# libqb raises smaller wishes itself: a ring has to hold at least one set-up answer.
MESSAGE_SIZE_MIN: Final = 12328
# Three rings of this size per client must still be bearable in /dev/shm.
MESSAGE_SIZE_MAX: Final = 8 * 1024 * 1024

# Buffers one write() may gather.
WRITE_PARTS_MAX: Final = 64

CLIENTS_MAX: Final = 4096
# One program that forgets to disconnect leaves places for the others.
CLIENTS_PER_PROCESS_MAX: Final = 2048
# Connections that the kernel keeps until we accept them; more are told to try again.
LISTEN_BACKLOG: Final = 1024
# Descriptors kept free for the executive itself (network, logs, state files).
DESCRIPTORS_RESERVED: Final = 64

# A connection that has not sent its set-up request holds a descriptor and nothing else.
HANDSHAKES_MAX: Final = 256
HANDSHAKE_TIMEOUT: Final = 5.0

# Requests taken from one client per turn of the loop; the next client comes first then (spec: 50).
REQUESTS_PER_TURN: Final = 50
# Seconds of a turn after which the remaining clients wait for the next one, behind the network.
TURN_TIME: Final = 0.005
# Bytes of requests taken out of a ring at once (a single longer one is taken alone), so that a client
# keeps no more than that in our memory when its requests find no room ...
READ_BYTES_MAX: Final = 64 * 1024
# ... and while others wait for room: enough for a question.
READ_BYTES_WITHOUT_ROOM: Final = 4096
# Clients asked in vain whether there is room for their requests again, before the rest is left in peace.
REFUSALS_PER_TURN: Final = 8

# Event bytes kept in memory for a client that does not empty its ring.  A single-threaded client that
# sends a long fragmented message cannot dispatch meanwhile, so this is far above one message.
EVENT_QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
# Bookkeeping of a queued event or response, so that tiny ones count too.
QUEUE_OVERHEAD: Final = 128
# Events and responses of all clients together: beyond it the client for which most waits is closed.
QUEUES_TOTAL_BYTES_MAX: Final = 512 * 1024 * 1024
# A client that takes event bytes off its socket is noticed; one that frees ring space in another way
# is looked at again from a timer.
EVENT_RETRY_MIN: Final = 0.001
EVENT_RETRY_MAX: Final = 0.05
# Clients looked at when that timer fires; the others come next time.
EVENT_RETRIES_PER_TURN: Final = 64

# Responses kept in memory when a response ring is full: only a client that never reads gets there.
RESPONSE_QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024

# Zero-copy buffers: the library's largest message plus its headers, rounded up generously.
BUFFER_SIZE_MAX: Final = 4 * 1024 * 1024
BUFFERS_PER_CLIENT_MAX: Final = 64
BUFFER_BYTES_PER_CLIENT_MAX: Final = 64 * 1024 * 1024
# Of all clients: together with nine mappings a connection, below the kernel's vm.max_map_count (65530).
BUFFERS_MAX: Final = 8192

# Connections accepted in one turn; accepting rests that long when the system is out of descriptors.
ACCEPTS_PER_TURN: Final = 64
# Clients let in (or refused) in one turn: making three rings of a megabyte takes the kernel a while.
CONNECTIONS_PER_TURN: Final = 1
# Seconds a turn may take to close clients, one at least: the kernel is slow to take the rings back, too.
CLOSING_TIME: Final = 0.001
ACCEPT_PAUSE: Final = 0.2

# Name of a client's process in the statistics.
PROCESS_NAME_MAX: Final = 31

# One log line per cause in this many seconds; what was left out is counted in the next line.
LOG_INTERVAL: Final = 5.0

# Causes whose log lines are limited, at a time; a process that misbehaves is a cause of its own.
CAUSES_MAX: Final = 256
