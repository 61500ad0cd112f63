"""corosync.conf: grammar, schema, contradictions, effective values.

    loaded = load(path)
    config = effective(loaded, machine)     # None when there are errors
    print(check_report(loaded))             # all errors and warnings
"""

from aisexec.config.effective import effective
from aisexec.config.explain import check_report, explain
from aisexec.config.load import Loaded, config_path, load
from aisexec.config.machine import LocalAddress, Machine, this_machine
from aisexec.config.model import Effective, Logging, Network, Node, Quorum, System
from aisexec.config.problems import Problem, Where

__all__ = [
    "Effective",
    "Loaded",
    "LocalAddress",
    "Logging",
    "Machine",
    "Network",
    "Node",
    "Problem",
    "Quorum",
    "System",
    "Where",
    "check_report",
    "config_path",
    "effective",
    "explain",
    "load",
    "this_machine",
]
