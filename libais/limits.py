"""Every bound of the client library, by name.  Sizes are bytes, times are seconds."""

from typing import Final

# A message longer than this is refused when sent and not put together when received.
MESSAGE_MAX: Final = 512 * 1024 * 1024
# All unfinished messages of one handle together.
REASSEMBLY_BYTES_MAX: Final = 1024 * 1024 * 1024

# BUSY lasts until a running join or leave is ordered, which a change of the membership may delay.
BUSY_RETRY: Final = 60.0
# The C library retries a fragment 100 times, 10 ms apart; giving up means to send all again.
FRAGMENT_RETRY: Final = 1.0
RETRY_PAUSE_MIN: Final = 0.0005
RETRY_PAUSE_MAX: Final = 0.01

# Events handled in one go before other greenlets or tasks get their turn and the socket is cleared.
EVENTS_PER_TURN: Final = 64

# Names of shared memory tried before giving up.
SHARED_MEMORY_ATTEMPTS: Final = 16

# What sam.Handle.data_store keeps; the supervisor holds it in memory.
SAM_DATA_MAX: Final = 64 * 1024 * 1024
