"""Names of keys, as they go to the executive."""

from __future__ import annotations

from ipc.cmap_layouts import KEY_MAX
from libais._cmap_types import encode_text
from libais.errors import InvalidParamError, NameTooLongError


def checked_key(what: str, key: str | bytes) -> bytes:
    """The bytes of a key or a prefix; NameTooLongError, and InvalidParamError for a NUL inside.

    Which characters a key may have, and that it has at least three, is left to the executive, as in C.
    """
    name = encode_text(key)
    if len(name) > KEY_MAX:
        raise NameTooLongError(f"{what}: key of {len(name)} bytes, at most {KEY_MAX} are possible")
    if b"\0" in name:
        raise InvalidParamError(f"{what}: a key cannot contain a NUL")
    return name
