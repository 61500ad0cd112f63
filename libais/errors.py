"""What the calls of libais raise: one class per cs_error_t code, each saying what to do about it."""

from __future__ import annotations

from typing import ClassVar

from ipc.errors import CsError, from_errno, strerror

__all__ = ["CsError", "CsException", "error_class", "from_os_error", "strerror"]


class CsException(Exception):
    """A call failed.  `code` is the cs_error_t; the text names the call, the cause and the remedy."""

    code: int = CsError.LIBRARY
    advice: ClassVar[str] = ""
    _classes: ClassVar[dict[int, type[CsException]]] = {}

    def __init_subclass__(cls) -> None:
        CsException._classes[cls.code] = cls

    def __init__(self, what: str, *, code: int | None = None) -> None:
        if code is not None:
            self.code = code
        self.what = what
        advice = f" - {self.advice}" if self.advice else ""
        super().__init__(f"{what}: {strerror(self.code)} ({int(self.code)}){advice}")


class LibraryError(CsException):
    """The executive is not there, went away, or spoke nonsense."""

    code = CsError.LIBRARY
    advice = "check that the executive runs, then open a new handle"


class VersionError(CsException):
    code = CsError.VERSION
    advice = "library and executive do not speak the same version"


class InitError(CsException):
    code = CsError.INIT
    advice = "the service could not be initialised: see the executive's log"


class TimedOutError(CsException):
    """No answer in the time allowed."""

    code = CsError.TIMEOUT
    advice = "the executive is busy or stopped: try again, or allow more time"


class TryAgainError(CsException):
    """Nothing was done: the executive starts, synchronises, or its send queue is full."""

    code = CsError.TRY_AGAIN
    advice = "nothing was done, repeat the call a little later (retry_for does that)"


class InvalidParamError(CsException):
    code = CsError.INVALID_PARAM
    advice = "correct the arguments"


class NoMemoryError(CsException):
    code = CsError.NO_MEMORY
    advice = "out of memory, or a limit of this library is reached"


class BadHandleError(CsException):
    """The handle is finalized, or belongs to the process that forked this one."""

    code = CsError.BAD_HANDLE
    advice = "open a new handle"


class BusyError(CsException):
    code = CsError.BUSY
    advice = "an earlier operation is not finished: wait for its event and repeat the call"


class AccessError(CsException):
    code = CsError.ACCESS
    advice = "root, or a user or group named in uidgid{} of corosync.conf, is allowed"


class NotExistError(CsException):
    code = CsError.NOT_EXIST
    advice = "what was named does not exist, or this handle has not joined it"


class NameTooLongError(CsException):
    code = CsError.NAME_TOO_LONG
    advice = "take a shorter name (a group's has at most 128 bytes)"


class ExistError(CsException):
    code = CsError.EXIST
    advice = "leave it as it is, or remove it first"


class NoSpaceError(CsException):
    code = CsError.NO_SPACE
    advice = "/dev/shm or a buffer is full: free space"


class InterruptError(CsException):
    """The membership changed while a long message was sent in fragments; no member got any of it."""

    code = CsError.INTERRUPT
    advice = "no member received the message, send it again"


class NameNotFoundError(CsException):
    code = CsError.NAME_NOT_FOUND
    advice = "no such name"


class NoResourcesError(CsException):
    code = CsError.NO_RESOURCES
    advice = "the executive lacks resources: see its log"


class NotSupportedError(CsException):
    code = CsError.NOT_SUPPORTED
    advice = "the executive does not offer this: check that the service is loaded"


class BadOperationError(CsException):
    code = CsError.BAD_OPERATION
    advice = "not possible in this state"


class FailedOperationError(CsException):
    code = CsError.FAILED_OPERATION
    advice = "the operation failed: see the executive's log"


class MessageError(CsException):
    """A message from the executive cannot be right."""

    code = CsError.MESSAGE_ERROR
    advice = "poll with the ring id of the latest event; after any other call open a new handle"


class QueueFullError(CsException):
    code = CsError.QUEUE_FULL
    advice = "repeat the call later"


class QueueNotAvailableError(CsException):
    code = CsError.QUEUE_NOT_AVAILABLE
    advice = "repeat the call later"


class BadFlagsError(CsException):
    code = CsError.BAD_FLAGS
    advice = "correct the flags"


class TooBigError(CsException):
    code = CsError.TOO_BIG
    advice = "send less at once"


class NoSectionsError(CsException):
    code = CsError.NO_SECTIONS
    advice = "nothing is left to iterate over"


class ContextNotFoundError(CsException):
    code = CsError.CONTEXT_NOT_FOUND
    advice = "no such context"


class TooManyGroupsError(CsException):
    code = CsError.TOO_MANY_GROUPS
    advice = "leave a group first"


class SecurityError(CsException):
    code = CsError.SECURITY
    advice = "permission denied by security policy"


def error_class(code: int) -> type[CsException]:
    """The class for a cs_error_t; CsException itself for a number nobody defined."""
    return CsException._classes.get(code, CsException)


def from_code(code: int, what: str) -> CsException:
    """The exception for result `code` of call `what`."""
    return error_class(code)(what, code=code)


def from_os_error(error: OSError, what: str) -> CsException:
    """The exception for a failure of the transport below call `what`."""
    text = error.strerror or str(error)
    return from_code(from_errno(error.errno or 0) if error.errno else CsError.LIBRARY, f"{what}: {text}")
