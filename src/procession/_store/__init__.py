"""What the places where hosts meet have in common: a lease's clock, and news for who decides."""
