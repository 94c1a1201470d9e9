"""Whether a gang that has failed starts again, and when: pure, the same for one host and for many."""
