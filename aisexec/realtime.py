"""Being on time: real-time scheduling, locked memory, the cgroup that allows both, enough descriptors.

None of it is needed to run; whatever the kernel refuses is a warning, and the executive goes on.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import platform
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from aisexec.totem.types import LOG_DEBUG, LOG_WARNING

Log = Callable[[int, str], None]

NICE_MAX_PRIORITY: Final = -20
NICE_MIN_PRIORITY: Final = 19

OPEN_FILES_WANTED: Final = 16384
"""Descriptors: a client costs one for its socket and, while connecting, six for its rings."""

THREAD_STACK_SIZE: Final = 256 * 1024
"""Bytes; the few helper threads call into libc and no deeper, and their stacks are locked too."""

# sys/mman.h; powerpc and sparc count from another bit.
_MCL_SHIFT: Final = 13 if platform.machine().startswith(("ppc", "sparc")) else 0
MCL_CURRENT: Final = 1 << _MCL_SHIFT
MCL_FUTURE: Final = 2 << _MCL_SHIFT
MCL_ONFAULT: Final = 4 << _MCL_SHIFT
M_ARENA_MAX: Final = -8  # malloc.h
CAP_IPC_LOCK: Final = 14  # linux/capability.h

_CGROUP_V1_CPU: Final = Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
_CGROUP_V1_TASKS: Final = Path("/sys/fs/cgroup/cpu/tasks")
_CGROUP_V2_PROCS: Final = Path("/sys/fs/cgroup/cgroup.procs")


@dataclass(frozen=True, slots=True)
class Scheduling:
    """system.sched_rr (or -r/-p), system.priority (or -P) and system.move_to_root_cgroup."""

    realtime: bool = True
    nice: int | None = None
    """Nice value -20..19 when `realtime` is off; None leaves it as it is."""
    move_to_root_cgroup: Literal["yes", "no", "auto"] = "auto"


def parse_priority(text: str) -> int:
    """The nice value that -P or system.priority names: a number, `max` or `min`.  Raises ValueError."""
    if text == "max":
        return NICE_MAX_PRIORITY
    if text == "min":
        return NICE_MIN_PRIORITY
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"Priority value {text} is invalid: write max, min or a number -20..19") from None


def apply_scheduling(wanted: Scheduling, log: Log) -> None:
    """Schedule this process as asked; call it after the last fork, before threads run.

    Without the right to real-time scheduling the highest ordinary priority is tried.
    """
    nice = wanted.nice
    if wanted.move_to_root_cgroup == "yes":
        move_to_root_cgroup(log)
    if wanted.realtime:
        refused = _set_round_robin()
        if refused is not None and wanted.move_to_root_cgroup == "auto":
            # Kernels with CONFIG_RT_GROUP_SCHED allow real time in the root cgroup only.
            move_to_root_cgroup(log)
            refused = _set_round_robin()
        nice = None if refused is None else NICE_MAX_PRIORITY
        if refused is not None:
            log(
                LOG_WARNING,
                f"Could not set SCHED_RR at priority {_highest()}: {_reason(refused)}. Under load this node"
                " may miss its token; run it as root or give it CAP_SYS_NICE.",
            )
    if nice is not None:
        _set_nice(nice, log)


def _highest() -> int:
    return os.sched_get_priority_max(os.SCHED_RR)


def _set_round_robin() -> OSError | None:
    try:
        # Helper threads and the programs we start are to be scheduled as usual.
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(_highest()))
    except OSError as error:
        return error
    return None


def _set_nice(nice: int, log: Log) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        log(LOG_WARNING, f"Could not set priority {nice}: {_reason(error)}")


def move_to_root_cgroup(log: Log) -> None:
    """Leave the cgroup of the service manager, as system.move_to_root_cgroup asks."""
    if _CGROUP_V1_CPU.exists():
        version, tasks = "v1", _CGROUP_V1_TASKS
    elif _CGROUP_V2_PROCS.exists():
        version, tasks = "v2", _CGROUP_V2_PROCS
    else:
        log(LOG_DEBUG, "No cpu.rt_runtime_us or cgroup.procs: no cgroups, or none that limit real time")
        return
    log(LOG_DEBUG, f"Moving main pid to cgroup {version} root cgroup")
    try:
        tasks.write_text(f"{os.getpid()}\n")
    except OSError as error:
        log(LOG_WARNING, f"Can't write pid into cgroups tasks file {tasks}: {_reason(error)}")


def lock_memory(log: Log) -> bool:
    """Keep all memory resident, so that paging never delays the token.  False when refused.

    What is mapped now (code, heap) is read in at once.  What is mapped later is locked page by
    page as it is touched: MCL_FUTURE alone would fill each client's rings and each thread's stack,
    megabytes that nobody may ever use.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _keep_heap_small(libc)
    if not _may_lock_everything():
        # Below the limit, locking would work now and make some later allocation fail.
        log(
            LOG_WARNING,
            "Could not increase RLIMIT_MEMLOCK, not locking memory. Paging may delay the token; run the"
            " executive as root, give it CAP_IPC_LOCK or set LimitMEMLOCK=infinity in its unit.",
        )
        return False
    refused = _mlockall(libc, MCL_CURRENT)
    if not refused:
        refused = _mlockall(libc, MCL_FUTURE | MCL_ONFAULT)
        if refused == errno.EINVAL:  # Linux before 4.4
            refused = _mlockall(libc, MCL_FUTURE)
    if refused:
        log(
            LOG_WARNING,
            f"Could not lock memory of service to avoid page faults: {os.strerror(refused)} ({refused})",
        )
    return not refused


def _may_lock_everything() -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        # Containers often drop CAP_SYS_RESOURCE, and with CAP_IPC_LOCK the limit does not count.
        return _has_capability(CAP_IPC_LOCK)
    return True


def _has_capability(number: int) -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


def _keep_heap_small(libc: ctypes.CDLL) -> None:
    gc.collect()
    threading.stack_size(THREAD_STACK_SIZE)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(M_ARENA_MAX, 1)
        libc.malloc_trim(0)


def _mlockall(libc: ctypes.CDLL, flags: int) -> int:
    return ctypes.get_errno() if libc.mlockall(flags) else 0


def raise_open_files(log: Log) -> int:
    """Raise the limit of open descriptors; hands back how many there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        ceiling = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, ceiling))
        return wanted
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log(LOG_WARNING, f"Only {hard} descriptors instead of {wanted}: fewer clients can connect.")
        return hard


def _reason(error: OSError) -> str:
    return f"{os.strerror(error.errno or 0)} ({error.errno})"
