"""Programs that the benchmarks start: what a user would write, for each peer."""
