"""The command corosync-keygen: makes the key that the nodes of a cluster share."""

from __future__ import annotations

import getopt
import os
import re
import sys
from collections.abc import Sequence
from typing import Final

from aisexec.config.limits import KEY_SIZE_MAX, KEY_SIZE_MIN

DEFAULT_KEYFILE: Final = "/etc/corosync/authkey"
DEFAULT_RANDOM_FILE: Final = "/dev/urandom"
DEFAULT_SIZE: Final = 256
_SIZES: Final = f"{KEY_SIZE_MIN} to {KEY_SIZE_MAX}"

USAGE: Final = f"""\
Usage: corosync-keygen [-k <keyfile>] [-s size] [-r <randomfile>] [-l] [-h]
     -k / --key-file=<filename>     where to write the key, instead of {DEFAULT_KEYFILE}
     -s / --size=<bytes>            length of the key, {_SIZES} (default {DEFAULT_SIZE})
     -r / --random-file=<filename>  source of random bytes, instead of {DEFAULT_RANDOM_FILE}
     -l / --less-secure             accepted and ignored
     -h / --help                    this text
"""

# Statuses of corosync's command.
FAILED: Final = 1
CANNOT_CREATE: Final = 2
CANNOT_SET_MODE: Final = 3
CANNOT_WRITE: Final = 4
CANNOT_CLOSE: Final = 5


class KeygenError(Exception):
    """The key was not made; the status to end with."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Ends with corosync-keygen(8)'s statuses."""
    try:
        options, _ = getopt.gnu_getopt(
            list(sys.argv[1:] if argv is None else argv),
            "k:r:s:lh",
            ["key-file=", "less-secure", "random-file=", "size=", "help"],
        )
    except getopt.GetoptError as error:
        print(f"corosync-keygen: {error}", file=sys.stderr)
        print("Error parsing command line options.")
        return FAILED
    keyfile, random_file, size = DEFAULT_KEYFILE, DEFAULT_RANDOM_FILE, DEFAULT_SIZE
    try:
        for option, value in options:
            if option in ("-k", "--key-file"):
                keyfile = value
            elif option in ("-r", "--random-file"):
                random_file = value
            elif option in ("-s", "--size"):
                size = _size(value)
            elif option in ("-h", "--help"):
                print(USAGE)
                return 0
        _generate(keyfile, random_file, size)
    except KeygenError as error:
        sys.stdout.flush()
        print(f"corosync-keygen: {error}", file=sys.stderr)
        return error.status
    return 0


def _size(text: str) -> int:
    if re.fullmatch(r"\s*[+-]?[0-9]{1,40}", text, re.ASCII) and KEY_SIZE_MIN <= int(text) <= KEY_SIZE_MAX:
        return int(text)
    raise KeygenError(f"Unsupported key size (supported <{KEY_SIZE_MIN},{KEY_SIZE_MAX}>)", FAILED)


def _generate(keyfile: str, random_file: str, size: int) -> None:
    print("Corosync Cluster Engine Authentication key generator.")
    print(f"Gathering {size * 8} bits for key from {random_file}.", flush=True)
    key = _gather(random_file, size)
    try:
        # Closed to others from the first moment, and also where an older file is written over.
        descriptor = os.open(keyfile, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:
        raise KeygenError(f"Could not create {keyfile}: {_reason(error)}", CANNOT_CREATE) from None
    try:
        _write(descriptor, keyfile, key)
    except KeygenError:
        os.close(descriptor)
        raise
    try:
        os.close(descriptor)
    except OSError as error:
        raise KeygenError(f"Could not close {keyfile}: {error.strerror}", CANNOT_CLOSE) from None


def _gather(random_file: str, size: int) -> bytes:
    try:
        descriptor = os.open(random_file, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise KeygenError(f"Failed to open random source: {_reason(error)}", FAILED) from None
    if random_file == "/dev/random":
        print("Press keys on your keyboard to generate entropy.", flush=True)
    try:
        key = b""
        while len(key) < size:
            more = os.read(descriptor, size - len(key))
            if not more:
                raise KeygenError(f"Could not read {random_file}: it holds {len(key)} bytes only", FAILED)
            key += more
            if len(key) < size:
                missing = (size - len(key)) * 8
                text = f"Press keys on your keyboard to generate entropy ({missing} bits still needed)."
                print(text, flush=True)
        return key
    except OSError as error:
        raise KeygenError(f"Could not read {random_file}: {error.strerror}", FAILED) from None
    finally:
        os.close(descriptor)


def _write(descriptor: int, keyfile: str, key: bytes) -> None:
    try:
        os.fchmod(descriptor, 0o400)
    except OSError as error:
        text = f"Failed to set key file permissions to 0400: {error.strerror}"
        raise KeygenError(text, CANNOT_SET_MODE) from None
    print(f"Writing corosync key to {keyfile}.", flush=True)
    try:
        written = os.write(descriptor, key)
        if written == len(key):
            return
        reason = "No space left on device"
    except OSError as error:
        reason = _reason(error)
    raise KeygenError(f"Could not write {keyfile}: {reason}", CANNOT_WRITE)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


if __name__ == "__main__":
    sys.exit(main())
