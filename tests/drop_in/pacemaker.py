"""Pacemaker on the nodes of a cluster: its configuration, its daemons, what crm_mon says of it."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.drop_in.cluster import ClusterNode, DropInCluster

GROUP = ("database", "address", "website")
"""Resources of the group, in the order they are started."""

PATIENCE = 45.0
"""Seconds until Pacemaker has done what follows from an event."""

ENVIRONMENT = {"PCMK_logfile": "/var/log/pacemaker/pacemaker.log", "PCMK_debug": "no"}

OPTIONS = {
    # There is nothing here that could switch off a machine.
    "stonith-enabled": "false",
    # How long a first node waits for others that might have a coordinator.
    "dc-deadtime": "3s",
    "no-quorum-policy": "stop",
}


def cib(options: Mapping[str, str] = OPTIONS, resources: Iterable[str] = GROUP) -> str:
    """Pacemaker's configuration: options, and one group of ocf:pacemaker:Dummy resources."""
    pairs = "".join(
        f'<nvpair id="option-{name}" name="{name}" value="{value}"/>' for name, value in options.items()
    )
    primitives = "".join(
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy"><operations>'
        f'<op id="{name}-monitor" name="monitor" interval="5s" timeout="20s"/></operations></primitive>'
        for name in resources
    )
    return (
        '<cib admin_epoch="0" epoch="1" num_updates="0" validate-with="pacemaker-3.0"><configuration>'
        f'<crm_config><cluster_property_set id="options">{pairs}</cluster_property_set></crm_config>'
        f'<nodes/><resources><group id="services">{primitives}</group></resources><constraints/>'
        "</configuration><status/></cib>\n"
    )


@dataclass(frozen=True)
class Status:
    """What crm_mon says on one node.

    placement: the nodes on which a resource is active, by resource.
    """

    online: frozenset[str] = frozenset()
    offline: frozenset[str] = frozenset()
    coordinator: str = ""
    stack: str = ""
    quorate: bool = False
    placement: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The one node where the whole group is; empty when there is none."""
        homes = {self.placement.get(name, ()) for name in GROUP}
        home = homes.pop() if len(homes) == 1 else ()
        return home[0] if len(home) == 1 else ""

    @property
    def idle(self) -> bool:
        """No resource of the group is active anywhere."""
        return not any(self.placement.get(name) for name in GROUP)


def parse(text: str) -> Status:
    """The XML of crm_mon."""
    root = ElementTree.fromstring(text)
    nodes = root.findall("./nodes/node")
    settled = {
        node.get("name", "")
        for node in nodes
        if (node.get("online"), node.get("pending"), node.get("unclean")) == ("true", "false", "false")
    }
    gone = {node.get("name", "") for node in nodes if node.get("online") == "false"}
    coordinator = root.find("./summary/current_dc")
    stack = root.find("./summary/stack")
    found = coordinator is not None and coordinator.get("present") == "true"
    return Status(
        online=frozenset(settled),
        offline=frozenset(gone),
        coordinator=coordinator.get("name", "") if found and coordinator is not None else "",
        stack=stack.get("type", "") if stack is not None else "",
        quorate=found and coordinator is not None and coordinator.get("with_quorum") == "true",
        placement={
            resource.get("id", ""): tuple(node.get("name", "") for node in resource.findall("node"))
            for resource in root.iter("resource")
            if resource.get("active") == "true" and resource.get("role") == "Started"
        },
    )


class Pacemaker:
    """Pacemaker on all nodes of a cluster."""

    def __init__(self, cluster: DropInCluster) -> None:
        self.cluster = cluster
        self.known: set[int] = set()
        """Nodes where it was started."""
        self._daemons: dict[int, subprocess.Popen[str]] = {}

    def configure(self) -> None:
        """The same configuration on all nodes, before their first start."""
        for node in self.cluster.nodes.values():
            file = node.machine.path("var/lib/pacemaker/cib/cib.xml")
            file.parent.mkdir(exist_ok=True)
            file.write_text(cib())
            file.chmod(0o600)
            shutil.chown(file, "hacluster", "haclient")

    def start(self, nodeid: int) -> None:
        """Start it on a node whose executive runs."""
        machine = self.cluster[nodeid].machine
        self.known.add(nodeid)
        self._daemons[nodeid] = machine.daemon(["pacemakerd"], "pacemakerd", ENVIRONMENT)

    def stop(self, nodeid: int) -> int:
        """Let it move away what it has, and end."""
        return self.cluster[nodeid].machine.end(self._daemons.pop(nodeid))

    def status(self, node: ClusterNode) -> Status:
        """What crm_mon says there; an empty status while it says nothing."""
        if not node.machine.up:
            return Status()
        code, text = node.machine.call(["crm_mon", "--output-as=xml", "--inactive"])
        return parse(text) if code == 0 else Status()

    def wait(
        self, online: Iterable[int], *, running: bool = True, quorate: bool = True, timeout: float = PATIENCE
    ) -> Status:
        """Until crm_mon says on each of these nodes that just these are online and where the group is.

        running: the whole group on one of them, otherwise nowhere.
        """
        nodes = [self.cluster[nodeid] for nodeid in online]
        names = frozenset(node.name for node in nodes)
        others = frozenset(self.cluster[nodeid].name for nodeid in self.known) - names
        seen: dict[str, Status] = {}

        def settled() -> Status | None:
            seen.update({node.name: self.status(node) for node in nodes})
            one, *rest = (seen[node.name] for node in nodes)
            right = (
                one.online == names
                and one.offline == others
                and one.coordinator in names
                and one.stack == "corosync"
                and one.quorate == quorate
                and (one.home in names if running else one.idle)
                and all(other == one for other in rest)
                and self._idle(nodes[0], one.coordinator)
            )
            return one if right else None

        what = f"{sorted(names)} online, group {'on one of them' if running else 'stopped'}"
        try:
            status = self.cluster.wait_for(settled, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\ncrm_mon: {seen}") from None
        assert status is not None
        return status

    def _idle(self, node: ClusterNode, coordinator: str) -> bool:
        """The coordinator has nothing left to carry out."""
        _, state = node.machine.call(["crmadmin", "--quiet", "--status", coordinator])
        return state.strip() == "S_IDLE"
