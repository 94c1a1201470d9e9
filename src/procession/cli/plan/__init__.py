"""What a run will be, in full, before anything is done about it."""
