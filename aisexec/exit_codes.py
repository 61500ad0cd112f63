"""Exit statuses of the executive: those of corosync 3.1, which unit files and scripts already know."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Why the executive ended."""

    OK = 0
    """Ended as asked, or the configuration test passed."""
    FAILURE = 1
    """Wrong command line, or a socket could not be made or bound."""
    FORK = 4
    """Could not go into the background."""
    LOG_CONFIG_READ = 7
    """The logging section cannot be used, or the log cannot be started."""
    MAIN_CONFIG_READ = 8
    """The configuration is missing or wrong."""
    LOG_SETUP = 9
    """A log destination cannot be set up."""
    ICMAP = 12
    """The configuration map cannot be made."""
    INIT_SERVICES = 13
    """A service, or the endpoints clients connect to, cannot be started."""
    FATAL_ERROR = 15
    """The ring cannot be started, for example because the local address is on no interface."""
    DIR_NOT_PRESENT = 16
    """The state directory is missing or cannot be entered."""
    ACQUIRE_LOCK = 17
    """The lock file cannot be made or written."""
    ALREADY_RUNNING = 18
    """Another executive of this node holds the lock."""
    STD_TO_NULL_REDIR = 19
    """Standard input and output cannot be detached."""
    SERVICE_ENGINE_INIT = 20
    """A service engine refuses to start."""
    STORE_RINGID = 21
    """The ring id cannot be read or created in the state directory."""
    STATS = 22
    """The statistics map cannot be made."""
    PLOAD = 99
    """End of a load test run."""
