"""Test only: throw away a share of the received frames, to see the protocol repair it on real sockets."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from aisexec.exit_codes import ExitCode
from aisexec.net.base import NetError

VARIABLE: Final = "AISEXEC_TEST_DROP_RX"


class TestLoss:
    """Decides frame by frame, from a seed, which ones are lost.  `percent` is 0..100."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(self, percent: float, seed: int) -> None:
        self.percent = percent
        self.seed = seed
        self._random = random.Random(seed)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> TestLoss | None:
        """What AISEXEC_TEST_DROP_RX="percent,seed" asks for; None when it is not set.  Raises NetError."""
        value = environment.get(VARIABLE)
        if not value:
            return None
        try:
            percent_text, seed_text = value.split(",")
            percent, seed = float(percent_text), int(seed_text)
        except ValueError:
            percent, seed = -1.0, 0
        if not 0 <= percent <= 100:
            raise NetError(
                f"environment variable {VARIABLE} is {value!r}; write percent,seed (as in 5,42) or unset it",
                ExitCode.FAILURE,
            )
        return cls(percent, seed)

    def loses(self) -> bool:
        """Whether the next frame is lost."""
        return self._random.random() * 100 < self.percent
