"""Carrying a plan out: attempts, hosts, and every end of a run in words and a status."""
