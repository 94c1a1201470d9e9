"""``procession logs``."""
