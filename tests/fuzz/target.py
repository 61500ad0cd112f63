"""What a target is, and finding them: each module of tests.fuzz.targets is one."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from tests.fuzz import targets

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

REGRESSIONS: Final = Path(__file__).parent / "regressions"


class Target(Protocol):
    """A decoder and what must hold after it has seen any bytes whatever."""

    SECONDS: float
    """The longest that one input may take on a slow machine, instrumented."""

    def fuzz(self, data: bytes) -> None:
        """Decode; raises AssertionError, or what the decoder must not raise, when it got hurt."""

    def seeds(self) -> Sequence[bytes]:
        """Good inputs."""

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """An input that is nearly like `data`, changed where its layout says that it matters."""

    def inputs(self) -> SearchStrategy[bytes]:
        """For hypothesis."""


def names() -> list[str]:
    """All targets."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def load(name: str) -> Target:
    """Raises ModuleNotFoundError for a name that is none."""
    return cast("Target", importlib.import_module(f"tests.fuzz.targets.{name}"))


def regressions(name: str) -> list[Path]:
    """Inputs that have hurt this target once."""
    directory = REGRESSIONS / name
    return sorted(directory.iterdir()) if directory.is_dir() else []
