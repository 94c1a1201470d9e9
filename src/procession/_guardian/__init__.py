"""The guardian: the process that starts a gang's workers, sees them die, reaps and sweeps them.

`protocol` says what is said, `channel` carries it, `warden` is the guardian's loop, `starters` the
ways to start a worker, `sweep` the end of a tree. `client` is the launcher's side. Everything but
`client` runs in a bare interpreter (``python -I -S``) and imports next to nothing.
"""
