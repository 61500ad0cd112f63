"""The result codes of corosync's libraries (cs_error_t) and how a negative errno becomes one."""

from __future__ import annotations

import errno
from enum import IntEnum
from types import MappingProxyType


class CsError(IntEnum):
    """cs_error_t of corosync/corotypes.h."""

    OK = 1
    LIBRARY = 2
    VERSION = 3
    INIT = 4
    TIMEOUT = 5
    TRY_AGAIN = 6
    INVALID_PARAM = 7
    NO_MEMORY = 8
    BAD_HANDLE = 9
    BUSY = 10
    ACCESS = 11
    NOT_EXIST = 12
    NAME_TOO_LONG = 13
    EXIST = 14
    NO_SPACE = 15
    INTERRUPT = 16
    NAME_NOT_FOUND = 17
    NO_RESOURCES = 18
    NOT_SUPPORTED = 19
    BAD_OPERATION = 20
    FAILED_OPERATION = 21
    MESSAGE_ERROR = 22
    QUEUE_FULL = 23
    QUEUE_NOT_AVAILABLE = 24
    BAD_FLAGS = 25
    TOO_BIG = 26
    NO_SECTIONS = 27
    CONTEXT_NOT_FOUND = 28
    TOO_MANY_GROUPS = 30
    SECURITY = 100


FROM_ERRNO = MappingProxyType(
    {
        errno.EBADF: CsError.BAD_HANDLE,
        errno.ENOMEM: CsError.NO_MEMORY,
        errno.ENOMSG: CsError.TRY_AGAIN,
        errno.ENOBUFS: CsError.TRY_AGAIN,
        errno.ETIMEDOUT: CsError.TRY_AGAIN,
        errno.EAGAIN: CsError.TRY_AGAIN,
        errno.EBADE: CsError.FAILED_OPERATION,
        errno.ETIME: CsError.TIMEOUT,
        errno.EINVAL: CsError.INVALID_PARAM,
        errno.EBUSY: CsError.BUSY,
        errno.EACCES: CsError.ACCESS,
        errno.EOVERFLOW: CsError.NAME_TOO_LONG,
        errno.EEXIST: CsError.EXIST,
        errno.ENOSPC: CsError.NO_SPACE,
        errno.EINTR: CsError.INTERRUPT,
        errno.ENOENT: CsError.NOT_EXIST,
        errno.ENODEV: CsError.NOT_EXIST,
        errno.ENOSYS: CsError.NOT_SUPPORTED,
        errno.ENOTSUP: CsError.NOT_SUPPORTED,
        errno.EBADMSG: CsError.MESSAGE_ERROR,
        errno.EMSGSIZE: CsError.TOO_BIG,
        errno.E2BIG: CsError.TOO_BIG,
    }
)


def from_errno(code: int) -> CsError:
    """The cs_error_t for an errno given as a positive or negative number; 0 is OK.

    What is not in the table (ECONNREFUSED, ENOTCONN, EMFILE ...) is LIBRARY, as in the C libraries.
    """
    if code == 0:
        return CsError.OK
    return FROM_ERRNO.get(abs(code), CsError.LIBRARY)


def strerror(code: int) -> str:
    """The text of cs_strerror(3) for `code`."""
    if code == CsError.OK:
        return "success"
    try:
        return "CS_ERR_" + CsError(code).name
    except ValueError:
        return "unknown error"
