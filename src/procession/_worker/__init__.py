"""What runs inside a worker, around the user's code: standard library only, nothing of the rest."""
