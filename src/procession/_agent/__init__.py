"""One host's agent: its workers on the one side, the other hosts on the other."""
