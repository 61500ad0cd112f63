from collections.abc import Callable

from aisexec.totem.core import Core

def ordinary_visit(core: Core, frame: bytes, restart_heartbeat: Callable[[Core, bool], object]) -> bool:
    """The token's visit at a member in OPERATIONAL, if it is one of those that are nearly all.

    False, with nothing changed, for a token that has to be looked at by `token_visit.token_arrived`:
    with retransmit requests, of another ring, an old copy, out of the window, of a stranger, ...
    """
