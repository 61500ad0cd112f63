"""Keys of cmap in the shape of a dictionary."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from ipc.cmap_layouts import ValueType
from libais._cmap_types import FLOATS, INTEGERS, Plain
from libais.errors import InvalidParamError, NotExistError

if TYPE_CHECKING:
    from libais.cmap import Handle


class MapView(MutableMapping[str, Plain]):
    """What lies behind a prefix, live: nothing is copied, every use asks the executive.

    A missing key is a KeyError; everything else fails as the handle's calls do.
    """

    def __init__(self, handle: Handle, prefix: str) -> None:
        self._handle = handle
        self._prefix = prefix

    def __getitem__(self, key: str) -> Plain:
        try:
            return self._handle.get(self._prefix + key).plain
        except NotExistError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Plain) -> None:
        """A key keeps its type where the value fits it; a new key with a whole number has none to keep."""
        name = self._prefix + key
        self._handle.set(name, value, self._type(name, value))

    def _type(self, name: str, value: Plain) -> ValueType:
        if isinstance(value, str):
            return ValueType.STRING
        if isinstance(value, bytes):
            return ValueType.BINARY
        try:
            present = self._handle.get_entry(name).type
        except NotExistError:
            present = None
        if isinstance(value, float):
            return present if present is not None and present in FLOATS else ValueType.DOUBLE
        if present is None or present not in INTEGERS:
            raise InvalidParamError(f"cmap_set {name}: how wide is the number? Use set_uint32 or the like")
        return present

    def __delitem__(self, key: str) -> None:
        try:
            self._handle.delete(self._prefix + key)
        except NotExistError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        try:
            self._handle.get_entry(self._prefix + key)
        except NotExistError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        with self._handle.iteration(self._prefix) as entries:
            for entry in entries:
                yield entry.key[len(self._prefix) :]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<libais.cmap.MapView {self._prefix!r}>"
