"""Real clusters on this machine, for tests: see `cluster.Cluster` and `programs.HistoryProgram`."""
