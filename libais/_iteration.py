"""Walks whose place the executive keeps, whatever is walked over."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from libais._handle import ServiceHandle
from libais.errors import LibraryError, NoSectionsError

T = TypeVar("T")


class ServiceIteration(Iterator[T], Generic[T]):
    """A walk that finalizes itself at its end or as a context manager.

    what: the function of the C library that gives the next entry; errors name it.
    """

    def __init__(self, handle: ServiceHandle[Any], what: str) -> None:
        self._handle = handle
        self._what = what
        self._finalized = False

    # --- for the services ----------------------------------------------------------------------

    @abstractmethod
    def _request_next(self) -> bytes:
        """The response with the next entry; raises NoSectionsError at the end."""

    @abstractmethod
    def _decode(self, response: bytes) -> T:
        """The entry in it; raises ValueError."""

    @abstractmethod
    def _request_finalize(self) -> None:
        """Let the executive forget the walk."""

    # --- walking -------------------------------------------------------------------------------

    def __next__(self) -> T:
        if self._finalized:
            raise StopIteration
        try:
            response = self._request_next()
        except NoSectionsError:
            self.finalize()
            raise StopIteration from None
        try:
            return self._decode(response)
        except ValueError as error:
            raise LibraryError(f"{self._what}: {error}") from None

    def finalize(self) -> None:
        """Tell the executive that it is over; twice is harmless."""
        if not self._finalized:
            self._finalized = True
            self._request_finalize()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handle.closed:
            self.finalize()
