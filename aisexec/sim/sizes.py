"""What can grow in a node, how full it is, and the most that may be in it."""

from __future__ import annotations

from aisexec.executive import Executive
from aisexec.limits import PROCESSES_MAX
from aisexec.services.cpg import Cpg
from aisexec.totem.limits import (
    ANOMALY_SENDERS_MAX,
    ASSEMBLY_SIZE_MAX,
    OWN_FRAMES_MAX,
    PROCESSOR_COUNT_MAX,
    RECOVERY_QUEUE_SIZE,
    SORT_QUEUE_SIZE,
)
from aisexec.totem.settings import Settings


def sizes(executive: Executive) -> dict[str, int]:
    """How full everything is that can grow."""
    totem = executive.totem
    core = totem._core
    cpg = executive.services[Cpg.id]
    assert isinstance(cpg, Cpg)
    assemblies = (totem._regular, totem._transitional)
    open_sizes = [size for assembly in assemblies for size in assembly.open_sizes.values()]
    return {
        "send queue": len(core.q_new) + len(core.q_trans),
        "retransmission queue": len(core.q_retrans),
        "sort queue": len(core.regular_q),
        "recovery sort queue": len(core.recovery_q),
        "misses": core.regular_q.miss_count + core.recovery_q.miss_count,
        "own frames": len(core.own_frames),
        "processors": len(core.proc),
        "failed": len(core.failed),
        "assembly": max((0, *open_sizes)),
        "assemblies": len(open_sizes),
        "anomalies": len(core.anomalies._logged),
        "processes": len(cpg.processes),
    }


def limits(settings: Settings) -> dict[str, int]:
    """The most that sizes() may say."""
    slots = 4 * 1048576 // settings.net_mtu
    return {
        "send queue": 2 * slots,
        "retransmission queue": RECOVERY_QUEUE_SIZE,
        "sort queue": SORT_QUEUE_SIZE,
        "recovery sort queue": SORT_QUEUE_SIZE,
        "misses": 2 * SORT_QUEUE_SIZE,
        "own frames": OWN_FRAMES_MAX,
        "processors": PROCESSOR_COUNT_MAX,
        "failed": PROCESSOR_COUNT_MAX,
        "assembly": ASSEMBLY_SIZE_MAX,
        "assemblies": 2 * PROCESSOR_COUNT_MAX,
        "anomalies": ANOMALY_SENDERS_MAX,
        "processes": PROCESSES_MAX,
    }
