"""Measuring a cluster executive from a program's side: the command `aisexec-bench`."""
