from aisexec._timing import Timing
from aisexec.driver import Driver
from aisexec.executive import Executive
from aisexec.net.base import Transport
from ipc.server import Server

class Turn:
    """The turn of a driver's loop as it mostly is: frames, the token among them perhaps, that goes on.

    It does what `Driver._network_ready` does, but where the transport is plain (see there), nothing else
    happens and no client has a part in it, without a line of Python: a visit of the token on a ring
    of nodes that share processors is mostly spent on what others have thrown out of the caches.
    Whatever is different is left to the driver, after the frames were read or the token sent.
    While the token goes round a turn waits for it in the socket, and goes back to the loop, with its
    watchers and timers, from time to time (aisexec.net.limits.TURN_MAX).
    """

    def __init__(
        self, driver: Driver, executive: Executive, transport: Transport, server: Server, timing: Timing
    ) -> None: ...
    def ready(self) -> None:
        """Something can be read from the network."""
    def token_leaves(self) -> None:
        """For aisexec.totem.stack: the token is among the effects."""
