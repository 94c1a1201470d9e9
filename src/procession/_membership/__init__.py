"""Who takes part in a run, in which round and with which rank: pure, see docs/why/rendezvous.md."""
