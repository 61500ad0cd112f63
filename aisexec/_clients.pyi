from aisexec.executive import Executive
from ipc._event_batch import EventBatch
from ipc.server import Server

class Clients:
    """What clients mostly want of an executive whose token goes round: multicasts taken, events announced.

    Does what `ipc.server.Server.poll` and `flush` do for clients with which nothing else is the matter;
    everybody else is left to the server, with what has been read already (`Connection.held`).
    """

    def __init__(self, executive: Executive, server: Server) -> None: ...
    def poll(self, now: float) -> tuple[int, bool]:
        """Take the requests that are there; how many, and whether the server has to look for more.

        For tests, like the following; `aisexec._turn` calls what is below at C level.
        """
    def send(self, batch: EventBatch) -> None:
        """Write the events and announce them."""
