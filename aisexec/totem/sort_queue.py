"""The compiled sort queue, open to deliberate faults."""

from aisexec.totem._sort_queue import SortQueue as _SortQueue


class SortQueue(_SortQueue):
    """See _sort_queue.pyi; its plain-Python twin is tests/twins/sort_queue.py."""
