"""The fork server's process: ``python [flags] …/_guardian/serve.py``.

The run's lock is its fd 3, as any worker's, and its channel fd 4. ``serve`` returns in the workers that it forks, and in them alone. They then are what they were asked
to be from here, at the top of the real ``__main__``, so that the interpreter itself ends a script.
"""

if __name__ == "__main__":
    import os as _os
    import sys as _sys

    _root = _os.path.dirname(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))))
    if not getattr(_sys.flags, "safe_path", _sys.flags.isolated):
        del _sys.path[0]  # this file's directory, which only its name has put there
    _sys.path.insert(0, _root)
    from procession._guardian.forker import serve as _serve

    _sys.path.remove(_root)
    _become = _serve()
    _become(globals())
