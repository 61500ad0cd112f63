"""What Totem and the services promise, one property a file, judged from a run's history alone.

The properties are those of Moser, Amir, Melliar-Smith and Agarwal, "Extended Virtual Synchrony"
(ICDCS 1994), and of cpg_overview(3).  A checker knows records, nothing of the code that it judges.
"""

from __future__ import annotations

from collections.abc import Callable

from aisexec.sim.checkers import (
    agreed_order,
    boundedness,
    causal_order,
    configuration_agreement,
    delivered_once,
    group_agreement,
    group_delivery,
    group_views,
    liveness,
    quorum,
    ring_ids,
    safe_delivery,
    self_delivery,
    synchronisation,
    transitional_configuration,
    virtual_synchrony,
)
from aisexec.sim.history import History

Checker = Callable[[History], None]
"""Raises Violation."""

ALL: tuple[Checker, ...] = (
    transitional_configuration.check,
    configuration_agreement.check,
    ring_ids.check,
    delivered_once.check,
    agreed_order.check,
    virtual_synchrony.check,
    safe_delivery.check,
    self_delivery.check,
    causal_order.check,
    synchronisation.check,
    quorum.check,
    group_views.check,
    group_agreement.check,
    group_delivery.check,
    liveness.check,
    boundedness.check,
)
"""What the others rest on comes first: a wrong configuration makes messages look wrong."""
