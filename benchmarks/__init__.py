"""procession measured against its peers: in turn, in one run, on one machine.

``make bench`` runs all of them; ``python -m benchmarks launch --rounds 9`` one.
"""
