"""votequorum before judges: corosync-vqsim, and stock nodes in the same ring."""
