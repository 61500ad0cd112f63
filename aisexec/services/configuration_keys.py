"""Changing the map's keys to those of a configuration that was read anew, in corosync's order."""

from __future__ import annotations

from collections.abc import Mapping

from aisexec.icmap import CONFIGURED, Icmap, Value

FOUND_OUT = frozenset({"nodelist.local_node_pos"})
"""Is not in the file, so corosync first takes it out and then puts it in again."""


def take_over(map: Icmap, keys: Mapping[str, Value]) -> None:
    """First what is gone, then what is new or has changed: whoever tracks keys is told of just these."""
    for prefix in CONFIGURED:
        for key in map.keys(prefix):
            if key not in keys or key in FOUND_OUT:
                map.delete(key)
    for key in sorted(keys):
        map.set(key, keys[key])
