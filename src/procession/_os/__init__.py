"""The only room that knows the platform: pidfds, prctl, inotify, /proc, signals as numbers.

Each module states a contract and picks its means once, by what the kernel answers; the rest of
procession never asks ``sys.platform``. The guardian imports from here too, so the modules it needs
(`kernel`, `proc`, `deaths`, `lean`) stay free of heavy imports.
"""
