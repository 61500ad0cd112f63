"""Client library of the cluster executive, for programs in Python.

    from libais import cpg

The services are modules: `cpg` (process groups), `cmap` (keys and values), `cfg` (configuration and
shutdown), `quorum`, `votequorum`, and `sam` (supervised processes) on top of them; what they raise is in
`libais.errors`.
"""

from libais.errors import CsError, CsException

__all__ = ["CsError", "CsException"]
