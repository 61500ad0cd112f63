"""A whole cluster in one process, on a virtual clock and a faulty virtual network, from a seed."""
