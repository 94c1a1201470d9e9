"""Supervision on the launcher's side.

`machine` decides (pure), `gang` carries the decisions out over a guardian, `gate` holds signals back
while procession's own frames run.
"""
