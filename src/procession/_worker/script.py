"""Runs a Python script or module so that its uncaught exception reaches the launcher's report.

    python [FLAGS] .../_worker/script.py SCRIPT [ARGS...]
    python [FLAGS] .../_worker/script.py -m MODULE [ARGS...]

behave as ``python [FLAGS] SCRIPT [ARGS...]`` and ``python [FLAGS] -m MODULE [ARGS...]`` do, under any
Python from 3.8 on, which need not have procession installed. An uncaught exception is written to
``$TORCHELASTIC_ERROR_FILE`` before its traceback is printed. What else differs is in
docs/why/script-capture.md.

Python compiles this file at every start and never caches it: the work is in ``as_main.py``, which
runs in a namespace of its own because the names of this one belong to the script.
"""

if __name__ == "__main__":
    import _frozen_importlib_external as _importlib  # what Python itself loaded this file with

    _path = __file__.rpartition("script.py")[0] + "as_main.py"
    _loader = _importlib.SourceFileLoader("procession._worker.as_main", _path)
    _room = {"__name__": _loader.name, "__file__": _path, "__loader__": _loader}
    exec(_loader.get_code(_loader.name) or "", _room)  # noqa: S102 - our own file
    _room["run"](globals())  # type: ignore[operator]
