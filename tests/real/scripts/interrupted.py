"""Gets SIGTERM in the middle of the description of its own exception."""

import os
import signal


class RaisedBefore(Exception):
    """Its text is asked for when the exception is put on record."""

    def __str__(self) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "raised before"


def main(_directory: str = "") -> None:
    raise RaisedBefore


if __name__ == "__main__":
    main()
