"""Client library of the cluster executive, for programs in Python.

    from libais import cpg

The services are modules (`libais.cpg`); what they raise is in `libais.errors`.
"""

from libais.errors import CsError, CsException

__all__ = ["CsError", "CsException"]
