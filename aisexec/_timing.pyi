from collections.abc import Callable, Iterator

from aisexec.timing import LoopStats, TokenStats

class Timing:
    """Told what happens; knows how long it took."""

    token: TokenStats
    loop: LoopStats

    def __init__(
        self,
        collecting: Callable[[], float] = ...,
        clock: Callable[[], float] = ...,
        cpu: Callable[[], float] = ...,
    ) -> None:
        """collecting: seconds spent on collections so far; cpu: seconds of processor time so far."""
    def wakes(self) -> None:
        """The loop has looked at its sockets and begins to work."""
    def sleeps(self) -> None:
        """The loop has done everything and looks at its sockets again."""
    def token_came(self, now: float) -> None:
        """`now`: when it was read; told twice in a turn, the first time counts."""
    def token_passed(self, backlog: int) -> None:
        """Something was sent to the next node: the token, if one has just come.

        backlog: frames that waited when it came.
        """
    def turn_over(self) -> bool:
        """Was the token passed on?  If not, it is kept on purpose."""
    def token_means(self) -> Iterator[tuple[str, int]]:
        """Corosync's means of the last tokens: milliseconds of a rotation and of a visit, and the backlog."""
